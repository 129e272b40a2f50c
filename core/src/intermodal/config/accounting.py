"""Sorting the keys of a config.json: each is consumed, inert, refused or foreign, and none is passed over."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from packaging.version import InvalidVersion, Version

from intermodal.config.fields import Check, summary
from intermodal.errors import ConfigError

ABSENT = object()


@dataclass(frozen=True)
class Rule:
    """A key that has no effect while its value is harmless, and is refused otherwise.

    Attributes:
        harmless: whether the model is the same as without the key.
        why: what any other value would change.
        fix: what the user can do.
    """

    harmless: Callable[[Any], bool]
    why: str
    fix: str


def one_of(*values: Any) -> Callable[[Any], bool]:
    """Whether a value is one of these; 0 is not false and 1 is not true."""
    return lambda value: any(value == item and isinstance(value, bool) == isinstance(item, bool) for item in values)


@dataclass(frozen=True)
class Problem:
    """One reason why a config is refused."""

    key: str
    value: Any
    text: str

    def __str__(self) -> str:
        shown = "" if self.value is ABSENT else f" = {summary(self.value)}"
        return f"{printable(self.key)}{shown}: {self.text}"


def refusal(where: str, problems: Iterable[Problem], hint: str = "") -> ConfigError:
    """One error that lists every problem found in `where`; `hint` is a last line about all of them."""
    found = tuple(problems)
    lines = [f"{where} cannot be used as it stands:", *(f"  {problem}" for problem in found), hint]
    error = ConfigError("\n".join(filter(None, lines)))
    error.problems = found
    return error


@dataclass(frozen=True)
class ConfigReport:
    """What became of every key of a config file.

    Attributes:
        file: the file it was read from.
        reference: the transformers version whose config classes and modelling code the tables were checked against.
        consumed: keys that the model is built from.
        inert: keys that cannot change the model's numbers, and why.
        foreign: keys that the reference reads nowhere, and their values, shortened.
        overrides: keys that the caller gave, with their values; the caller knows, so no line tells of them.
        notes: what the user should know besides.
    """

    file: str
    reference: str
    consumed: tuple[str, ...] = ()
    inert: Mapping[str, str] = field(default_factory=dict)
    foreign: Mapping[str, str] = field(default_factory=dict)
    overrides: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def lines(self) -> list[str]:
        """What is worth a line on the screen: foreign keys and notes."""
        lines = [f"{self.file}: {note}" for note in self.notes]
        if self.foreign:
            keys = ", ".join(f"{printable(key)} = {value}" for key, value in self.foreign.items())
            lines.append(f"{self.file}: transformers {self.reference} reads none of these keys, nor do we: {keys}")
        return lines

    def to_json(self) -> dict[str, Any]:
        """The report as JSON types."""
        return {
            "file": self.file,
            "reference": f"transformers {self.reference}",
            "consumed": list(self.consumed),
            "inert": dict(self.inert),
            "foreign": dict(self.foreign),
            "overrides": list(self.overrides),
            "notes": list(self.notes),
        }


@dataclass
class Account:
    """The reading of one config: what has been taken from `raw`, and what was found wrong with it.

    `whole` is the content of the file, of which `raw` may be a part.
    """

    raw: Mapping[str, Any]
    file: str
    reference: str
    consumed: list[str] = field(default_factory=list)
    inert: dict[str, str] = field(default_factory=dict)
    foreign: dict[str, Any] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    overrides: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    whole: Mapping[str, Any] = field(default_factory=dict)

    def take(self, key: str, default: Any = None) -> Any:
        """The value of a key, which counts as consumed from now on; `default` where the key is absent."""
        if key not in self.raw:
            return default
        if key not in self.consumed:
            self.consumed.append(key)
        return self.raw[key]

    def read(self, check: Check, key: str, value: Any, fix: str = "") -> Any:
        """The normal form of a value, or ABSENT after noting the problem."""
        try:
            return check.read(value)
        except (ValueError, TypeError):
            self.refuse(key, value, f"expected {check.expected}" + (f"; {fix}" if fix else ""))
            return ABSENT

    def refuse(self, key: str, value: Any, text: str) -> None:
        """Note a problem; reading goes on, so that one error can name them all."""
        self.problems.append(Problem(key, value, text))

    def merge(self, name: str, part: Account) -> None:
        """Take over what became of the keys of a part, each under its path."""
        self.consumed.extend(f"{name}.{key}" for key in part.consumed)
        self.inert.update({f"{name}.{key}": why for key, why in part.inert.items()})
        self.foreign.update({f"{name}.{key}": value for key, value in part.foreign.items()})
        self.problems.extend(Problem(f"{name}.{p.key}", p.value, p.text) for p in part.problems)
        self.overrides.extend(f"{name}.{line}" for line in part.overrides)
        self.notes.extend(f"{name}: {note}" for note in part.notes)

    def sort_rest(self, inert: Mapping[str, str], rules: Mapping[str, Rule], strict: bool) -> None:
        """Sort every key that has not been taken.

        Args:
            inert: keys known to be without effect, and why.
            rules: keys that are without effect only for some values. They go before `inert`.
            strict: refuse foreign keys where they may matter.
        """
        for key, value in self.raw.items():
            if key in self.consumed:
                continue
            if key in rules:
                rule = rules[key]
                if rule.harmless(value):
                    self.inert[key] = f"{summary(value)} changes nothing; other values would be refused"
                else:
                    self.refuse(key, value, f"{rule.why}. {rule.fix}")
            elif key in inert:
                self.inert[key] = inert[key]
            else:
                self.foreign[key] = value
        own = {key: value for key, value in self.foreign.items() if key in self.raw}  # a part has sorted its own
        if strict and own and (doubt := self._doubt()):
            for key, value in own.items():
                self.refuse(
                    key, value, f"unknown key, and {doubt}: it may change the model. If it does not, pass strict=False"
                )

    def _doubt(self) -> str | None:
        """Why an unknown key may matter in this file, or None where it cannot."""
        if self.whole.get("auto_map") or self.raw.get("auto_map"):
            return "auto_map says that the repository has modelling code of its own"
        written_by = self.raw.get("transformers_version") or self.whole.get("transformers_version")
        if written_by is None:
            return None
        try:
            newer = Version(str(written_by)) > Version(self.reference)
        except InvalidVersion:
            return f"transformers_version = {summary(written_by)} is not a version"
        return f"transformers {written_by} wrote it, newer than the {self.reference} known here" if newer else None

    def report(self) -> ConfigReport:
        """What became of every key."""
        return ConfigReport(
            file=self.file,
            reference=self.reference,
            consumed=tuple(self.consumed),
            inert=dict(self.inert),
            foreign={key: summary(value) for key, value in self.foreign.items()},
            overrides=tuple(self.overrides),
            notes=tuple(self.notes),
        )


def printable(key: str) -> str:
    """A key for the screen: short, with control characters escaped."""
    return key if len(key) <= 80 and key.isprintable() else summary(key)
