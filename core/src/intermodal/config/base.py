"""The base of every family's config: a typed, frozen class that reads config.json and writes it again."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, ClassVar, Self

from intermodal.config import fields as declare
from intermodal.config.accounting import ABSENT, Account, ConfigReport, Problem, Rule, refusal
from intermodal.config.common import COMMON_INERT, COMMON_RULES
from intermodal.config.fields import Check, summary
from intermodal.errors import ConfigError

PROBLEM_TYPES = ("regression", "single_label_classification", "multi_label_classification")
_LABEL_KEYS = ("num_labels", "id2label", "label2id")
_HINT = 'Where the file is wrong, load(uri, config={"key": value}) gives a key another value.'
_NOT_EXPORTED = ("auto_map", "quantization_config", "compression_config", "quantization")


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """The config of one model. Fields carry Hugging Face's names, and transformers' defaults where a key is absent.

    A family subclasses it once, declares its fields with `intermodal.config.fields`, and sets the class attributes.

    Attributes:
        model_types: values of `model_type` that it reads; the first is the one it writes.
        checked_against: the transformers version whose config class and modelling code the tables were checked against.
        inert_keys: keys without effect in this family, and why; they add to `common.COMMON_INERT`.
        rules: keys without effect for some values only; they add to `common.COMMON_RULES`.
        spelled_keys: keys that `read_spellings` takes and `write_spellings` gives.
        other_names: key → field, where config.json may have another name for a field (transformers' `attribute_map`).
        parts: for models made of parts: keys that hold the config of one, and its class. A field of the same name
            holds the config; messages and reports name its keys with their path, `text_config.hidden_size`.
        raw: config.json as it was read, kept for export.
        file: the file it was read from, for messages.
    """

    model_types: ClassVar[tuple[str, ...]] = ()
    checked_against: ClassVar[str] = "0"
    inert_keys: ClassVar[Mapping[str, str]] = {}
    rules: ClassVar[Mapping[str, Rule]] = {}
    spelled_keys: ClassVar[tuple[str, ...]] = ()
    other_names: ClassVar[Mapping[str, str]] = {}
    parts: ClassVar[Mapping[str, type[ModelConfig]]] = {}

    architectures: tuple[str, ...] = declare.names()
    id2label: Mapping[int, str] | None = declare.labels()
    label2id: Mapping[str, int] | None = declare.label_ids()
    problem_type: str | None = declare.choice(None, {name: name for name in PROBLEM_TYPES}, nullable=True)
    raw: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)
    file: str = field(default="config.json", repr=False, compare=False)

    def __post_init__(self) -> None:
        problems = []
        for name, check in self.checks().items():
            value = getattr(self, name)
            try:
                object.__setattr__(self, name, check.read(value))
            except (ValueError, TypeError):
                problems.append(Problem(name, value, f"expected {check.expected}"))
        if not problems:
            self.resolve()
            problems.extend(self.contradictions())
        if problems:
            raise refusal(self.file, problems)

    # --- for a family to override -----------------------------------------------------------------------------------

    @classmethod
    def read_spellings(cls, account: Account, values: Mapping[str, Any]) -> dict[str, Any]:
        """Fields that have several spellings in config.json: take them from `account`, which collects problems.

        `values` are the fields read so far: absent where the key is, ABSENT where its value was refused.
        """
        return {}

    def write_spellings(self) -> dict[str, Any]:
        """What those fields are in config.json; it replaces every key of `spelled_keys`."""
        return {}

    def resolve(self) -> None:
        """Fill in fields whose default depends on others, once all are known to be valid."""

    def contradictions(self) -> Iterator[Problem]:
        """Values that are valid each but not together."""
        if self.problem_type == "single_label_classification" and self.num_labels == 1:
            text = 'needs more than one label; use "regression" for a single one'
            yield Problem("problem_type", self.problem_type, text)

    # --- reading and writing ------------------------------------------------------------------------------------------

    @classmethod
    def from_hf(
        cls,
        raw: Mapping[str, Any],
        *,
        strict: bool = True,
        overrides: Mapping[str, Any] | None = None,
        file: str = "config.json",
    ) -> tuple[Self, ConfigReport]:
        """Read a config.json and account for each of its keys.

        Args:
            raw: the content of config.json.
            strict: refuse unknown keys where they may matter: beside `auto_map`, and in files written by a newer
                transformers than the family's tables know. Other unknown keys are reported.
            overrides: keys to set to another value before reading; those of a part with their path, or as an object.
            file: what messages call the file.

        Raises:
            ConfigError: a value is malformed or cannot be honoured; it names every such key at once.
        """
        config, account = cls._read(raw, strict, overrides or {}, file, {})
        if config is None:
            raise refusal(file, account.problems, _HINT)
        return config, account.report()

    @classmethod
    def _read(
        cls, raw: Any, strict: bool, overrides: Mapping[str, Any], file: str, whole: Mapping[str, Any]
    ) -> tuple[Self | None, Account]:
        """The config, or None where the account has problems. `whole` is the file's content where `raw` is a part."""
        if not isinstance(raw, Mapping) or not all(isinstance(key, str) for key in raw):
            raise ConfigError(f"{file} holds {summary(raw)}, where an object with string keys was expected")
        own, of_parts = split_overrides(cls.parts, overrides)
        account = Account({**_without_other_labels(raw, own), **own}, file, cls.checked_against, whole=whole or raw)
        inert, rules = cls.tables()
        for key in own:
            account.overrides.append(f"{key} = {summary(account.raw[key])}")
            if key not in raw and key not in cls.known_keys():
                near = [f"{name}.{key}" for name, part in cls.parts.items() if key in part.known_keys()]
                meant = f"; {' or '.join(near)} is" if near else ""
                account.refuse(key, account.raw[key], f"not a key of this family, so it would override nothing{meant}")
        model_type = account.take("model_type")
        if model_type is not None and model_type not in cls.model_types:
            if whole:
                expected = " or ".join(f'"{name}"' for name in cls.model_types)
                account.refuse("model_type", model_type, f"this family has no such part, only {expected}")
            account.notes.append(f"model_type = {summary(model_type)} is read as {cls.model_types[0]}")

        values = {
            name: account.read(check, name, account.take(name))
            for name, check in cls.checks().items()
            if name in account.raw
        }
        values.update(cls._read_other_names(account, values))
        for name, part in cls.parts.items():
            content = account.take(name)
            if content is not None and not isinstance(content, Mapping):
                account.refuse(name, content, "expected an object, or null")
                continue
            config, nested = part._read(content or {}, strict, of_parts[name], file, account.whole)
            values[name] = ABSENT if config is None else config
            account.merge(name, nested)
        values.update(cls.read_spellings(account, values))
        if "num_labels" in account.raw:
            cls._read_num_labels(account, values)
        account.sort_rest(inert, rules, strict)
        if account.raw.get("auto_map"):
            account.notes.append("auto_map names code of the repository's own; it is not run")

        config = None
        if ABSENT not in values.values():
            try:
                config = cls(**values, raw=copy.deepcopy(dict(account.raw)), file=file)
            except ConfigError as error:
                account.problems.extend(error.problems)
        return (None if account.problems else config), account

    def to_hf(self, *, architectures: tuple[str, ...] | None = None, dtype: str | None = None) -> dict[str, Any]:
        """The content of a config.json that transformers loads to the same model.

        Keys that were read are kept, also the inert and foreign ones; fields that differ from them are updated.

        Args:
            architectures: class names to write, where the exported model is of another task.
            dtype: dtype of the exported weights, as transformers names it (`"bfloat16"`).
        """
        content = copy.deepcopy({key: value for key, value in self.raw.items() if key not in _NOT_EXPORTED})
        content["model_type"] = self.model_types[0]
        before = type(self).from_hf(self.raw, strict=False)[0] if self.raw else None
        for name, check in self.checks().items():
            value = getattr(self, name)
            # transformers 5 refuses an integer where it declares a float, so those are written anew.
            changed = before is None or value != getattr(before, name) or isinstance(content.get(name), int)
            if name not in _LABEL_KEYS and changed:
                content[name] = check.write(value)
        for key, name in self.other_names.items():
            if key in content:
                content[name] = self.checks()[name].write(getattr(self, name))
        for key in (*self.spelled_keys, *self.other_names, *_LABEL_KEYS):
            content.pop(key, None)
        content.update(self.write_spellings())
        content.update({name: getattr(self, name).to_hf() for name in self.parts})
        for key in ("id2label", "label2id"):
            if (value := getattr(self, key)) is not None:
                content[key] = self.checks()[key].write(value)
        if architectures is not None:
            content["architectures"] = list(architectures)
        if dtype is not None:
            content["dtype"] = dtype
            if "torch_dtype" in content:
                content["torch_dtype"] = dtype
        return content

    def with_labels(self, count: int) -> Self:
        """The same config for a head with `count` labels, which get transformers' placeholder names."""
        return replace(self, id2label=_placeholders(count), label2id=None)

    # --- what there is ------------------------------------------------------------------------------------------------

    @property
    def model_type(self) -> str:
        """The architecture, as config.json names it."""
        named = self.raw.get("model_type")
        return named if named in self.model_types else self.model_types[0]

    def to_dict(self) -> dict[str, Any]:
        """As `to_hf` without arguments: what transformers' configs call it."""
        return self.to_hf()

    @property
    def num_labels(self) -> int:
        """How many labels a classification head has; 2 where the config names none, as in transformers."""
        return 2 if self.id2label is None else len(self.id2label)

    @classmethod
    def checks(cls) -> dict[str, Check]:
        """The fields that are read from the key of their own name, and what they accept."""
        return {item.name: item.metadata["check"] for item in fields(cls) if "check" in item.metadata}

    @classmethod
    def tables(cls) -> tuple[dict[str, str], dict[str, Rule]]:
        """Inert keys and rules of this family; its own go before the common ones."""
        inert = {key: why for key, why in COMMON_INERT.items() if key not in cls.rules}
        rules = {key: rule for key, rule in COMMON_RULES.items() if key not in cls.inert_keys}
        return {**inert, **cls.inert_keys}, {**rules, **cls.rules}

    @classmethod
    def known_keys(cls) -> frozenset[str]:
        """Every key that some table mentions; any other is foreign."""
        inert, rules = cls.tables()
        spelled = (*cls.spelled_keys, *cls.other_names, *_LABEL_KEYS, "model_type")
        return frozenset((*cls.checks(), *spelled, *cls.parts, *inert, *rules))

    @classmethod
    def _read_other_names(cls, account: Account, values: Mapping[str, Any]) -> dict[str, Any]:
        """Fields under their other names. Two that differ are refused: which one counts is not known."""
        found = {}
        for key, name in cls.other_names.items():
            if key not in account.raw:
                continue
            given = account.take(key)
            found[name] = value = account.read(cls.checks()[name], key, given)
            if name in values and value is not ABSENT and values[name] not in (ABSENT, value):
                account.refuse(key, given, f"{name} = {summary(account.raw[name])} is the same field; drop one of them")
        return found

    @staticmethod
    def _read_num_labels(account: Account, values: dict[str, Any]) -> None:
        """Honour `num_labels`, which transformers 4 wrote for heads without label names."""
        given = account.take("num_labels")
        count = account.read(declare.integer(1, declare.MOST_LABELS).or_null(), "num_labels", given)
        named = values.get("id2label")
        if count is None or count is ABSENT or named is ABSENT:
            return
        if named is not None and len(named) != count:
            account.refuse("num_labels", given, f"id2label names {len(named)} labels; correct one of the two")
        values["id2label"] = named or _placeholders(count)


def _without_other_labels(raw: Mapping[str, Any], overrides: Mapping[str, Any]) -> Mapping[str, Any]:
    """The file without label names that belong to another number of labels, or other names, than the user gives."""
    count, names = overrides.get("num_labels"), raw.get("id2label")
    other = "id2label" in overrides or (count is not None and isinstance(names, Mapping) and len(names) != count)
    return {key: value for key, value in raw.items() if key not in _LABEL_KEYS} if other else raw


def split_overrides(
    parts: Mapping[str, Any], overrides: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """Overrides of a config's own keys, and of its parts': `{"text_config.x": 1}` or `{"text_config": {"x": 1}}`."""
    own: dict[str, Any] = {}
    of_parts: dict[str, dict[str, Any]] = {name: {} for name in parts}
    for key, value in overrides.items():
        part, dot, inner = key.partition(".")
        if dot and part in parts:
            of_parts[part][inner] = value
        elif key in parts and isinstance(value, Mapping):
            of_parts[key].update(value)
        else:
            own[key] = value
    return own, of_parts


def _placeholders(count: int) -> dict[int, str]:
    return {index: f"LABEL_{index}" for index in range(count)}
