"""How text is generated: the settings of a checkpoint's files, overridden by the arguments of a call, and checked."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, NamedTuple, Protocol

from intermodal.config.accounting import ABSENT, Account, ConfigReport, Problem
from intermodal.config.fields import summary
from intermodal.errors import GenerationError
from intermodal.generation.keys import (
    CONSUMED,
    FOR_SAMPLING,
    INERT,
    REFERENCE,
    REFUSED,
    SEED,
    UNSET_LENGTH,
    is_neutral,
    refusals,
)

DEFAULT_NEW_TOKENS = 512
"""New tokens where neither the call nor the checkpoint says how many, or as many as the context still holds.

transformers' default is 20, which cuts most answers off; an answer that ends by itself is shorter than this.
"""

FILE = "generation_config.json"


class HasStopIds(Protocol):
    """What is asked of a tokenizer here."""

    @property
    def stop_ids(self) -> tuple[int, ...]:
        """Ids that end what a model says."""
        ...


class Lengths(NamedTuple):
    """How long one row may become.

    Attributes:
        total: tokens of prompt and continuation together, at most.
        new: tokens of the continuation, at most; `total` less the prompt.
        least_new: tokens of the continuation before which no stop token is chosen.
    """

    total: int
    new: int
    least_new: int


@dataclass(frozen=True)
class GenerationReport(ConfigReport):
    """What became of every key of generation_config.json.

    Attributes:
        refused: keys that are not implemented and keep the model from generating until a call overrides them.
    """

    refused: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The report as JSON types."""
        return {**super().to_json(), "refused": list(self.refused)}


@dataclass(frozen=True)
class GenerationSettings:
    """Settings of generation. The defaults are transformers' own, but for the length.

    Attributes:
        do_sample: draw tokens, rather than take the likeliest.
        temperature: logits are divided by it; above 0. Used when sampling, as are the next three.
        top_k: draw from so many of the likeliest tokens; 0 for all.
        top_p: draw from the likeliest tokens that together have this probability; in (0, 1].
        min_p: draw from tokens at least this share as likely as the likeliest; in [0, 1].
        repetition_penalty: logits of tokens that are in prompt or text are divided by it, or multiplied if negative.
        max_length: tokens of prompt and continuation together.
        max_new_tokens: tokens of the continuation; it goes before `max_length`.
        min_length, min_new_tokens: before so many, no stop token is chosen.
        eos_token_id: token ids that end a text.
        pad_token_id, bos_token_id: for whoever pads, or begins without a prompt.
        stop_strings: texts that end a text, and are not part of it.
        seed: of what is drawn; None for another each time.
        given: which settings are arguments of the call, rather than from files.
        problems: keys of the files that cannot be honoured; `override` raises unless they are overridden.
        accounting: what became of each key of the file.
        file: generation_config.json as it was read.
    """

    do_sample: bool = False
    temperature: float = 1.0
    top_k: int = 50
    top_p: float = 1.0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    max_length: int | None = None
    max_new_tokens: int | None = None
    min_length: int = 0
    min_new_tokens: int = 0
    eos_token_id: tuple[int, ...] = ()
    pad_token_id: int | None = None
    bos_token_id: int | None = None
    stop_strings: tuple[str, ...] = ()
    seed: int | None = None
    given: frozenset[str] = frozenset()
    problems: tuple[Problem, ...] = ()
    accounting: GenerationReport = field(default=GenerationReport(FILE, REFERENCE), compare=False, repr=False)
    file: Mapping[str, Any] = field(default_factory=dict, compare=False, repr=False)

    @classmethod
    def from_files(
        cls, generation_config: Mapping[str, Any] | None, config: Mapping[str, Any], tokenizer: HasStopIds | None = None
    ) -> GenerationSettings:
        """Read a checkpoint's own settings. A key that cannot be honoured raises only when text is generated.

        Where there is no generation_config.json, config.json's own keys of the same names count, as in transformers.

        Args:
            generation_config: generation_config.json, or None.
            config: config.json; its eos_token_id and that of its text_config end a text as well.
            tokenizer: its eos token and its other stop tokens end a text as well.
        """
        text_config = config.get("text_config")
        inner = text_config if isinstance(text_config, Mapping) else {}
        if generation_config is None:
            known = (*CONSUMED, *REFUSED)
            raw = {key: source[key] for source in (inner, config) for key in known if source.get(key) is not None}
            account = Account(raw, "config.json", REFERENCE)
        else:
            account = Account(generation_config, FILE, REFERENCE)
        values = {key: value for key in CONSUMED if (value := _read(account, key)) is not None}
        stops = [values.get("eos_token_id", ())]
        stops += [_read(Account(source, "config.json", REFERENCE), "eos_token_id") or () for source in (config, inner)]
        stops += [() if tokenizer is None else tokenizer.stop_ids]
        account.sort_rest(INERT, refusals(), strict=False)
        report = account.report()
        return cls(
            **{**values, "eos_token_id": tuple(dict.fromkeys(index for group in stops for index in group))},
            problems=tuple(account.problems),
            accounting=GenerationReport(
                **{entry.name: getattr(report, entry.name) for entry in fields(report)},
                refused=tuple(str(problem) for problem in account.problems),
            ),
            file=dict(generation_config or {}),
        )

    def override(self, **arguments: Any) -> GenerationSettings:
        """The settings of one call. None stands for "as the checkpoint says"; for what is not implemented, for "none".

        Raises:
            GenerationError: an argument is unknown, malformed or not implemented, arguments contradict each other, or
                the checkpoint asks for something that is not implemented and that no argument overrides.
        """
        values: dict[str, Any] = {}
        for name, value in arguments.items():
            if name in REFUSED:
                self._override_refused(name, value)
            elif name in INERT:
                warnings.warn(f"{name}={value!r} has no effect: {INERT[name]}.", stacklevel=3)
            elif name not in CONSUMED and name != "seed":
                raise GenerationError(
                    f"{name} is no setting of generation; there are {', '.join((*CONSUMED, 'seed'))}."
                )
            elif value is not None:
                values[name] = _argument(name, value)
        problems = [problem for problem in self.problems if problem.key not in (*values, *(REFUSED.keys() & arguments))]
        settings = replace(self, **values, given=self.given | frozenset(values), problems=tuple(problems))
        settings._check()
        return settings

    def _override_refused(self, name: str, value: Any) -> None:
        if not is_neutral(name, value):
            raise GenerationError(f"{name}={value!r}: {REFUSED[name].effect} is not implemented.")
        for problem in self.problems:
            if problem.key == name:
                warnings.warn(
                    f"The checkpoint's {self.accounting.file} asks for {name} = {summary(problem.value)}, which the "
                    f"argument {name}={value!r} overrides.",
                    stacklevel=4,
                )

    def _check(self) -> None:
        serious = [problem for problem in self.problems if self.do_sample or problem.key not in FOR_SAMPLING]
        if serious:
            lines = "\n".join(f"  {problem}" for problem in serious)
            raise GenerationError(f"{self.accounting.file} asks for what cannot be done:\n{lines}")
        if {"max_length", "max_new_tokens"} <= self.given:
            raise GenerationError(
                f"max_length={self.max_length} counts the prompt, max_new_tokens={self.max_new_tokens} does not: "
                "give one of them."
            )
        if self.do_sample and self.temperature == 0:
            raise GenerationError(
                "temperature=0 leaves nothing to draw: pass do_sample=False for the likeliest tokens."
            )
        idle = sorted(self.given & FOR_SAMPLING)
        if idle and not self.do_sample:
            warnings.warn(f"{', '.join(idle)} without effect: pass do_sample=True to draw tokens.", stacklevel=3)

    def resolve_lengths(self, prompt_length: int, context: int | None) -> Lengths:
        """How long a row may become.

        Args:
            prompt_length: tokens of its prompt.
            context: tokens that the model can see, or None where there is no limit.

        Raises:
            GenerationError: the prompt fills the context, or what is asked for is more than it holds, or less than the
                prompt.
        """
        left = None if context is None else context - prompt_length
        if left is not None and left < 1:
            raise GenerationError(
                f"The prompt has {prompt_length} tokens, but the context holds {context}: shorten it."
            )
        least = max(self.min_new_tokens, self.min_length - prompt_length, 0)
        new = self._most_new(prompt_length) or max(DEFAULT_NEW_TOKENS, least)
        if left is not None and new > left:
            if self.given & {"max_length", "max_new_tokens"}:
                raise GenerationError(
                    f"A prompt of {prompt_length} tokens and {new} new ones are {prompt_length + new}, but the context "
                    f"holds {context}: ask for at most max_new_tokens={left}, or max_length={context}."
                )
            new = left
        if least > new:
            raise GenerationError(f"At least {least} new tokens are asked for (min_new_tokens), but at most {new}.")
        return Lengths(prompt_length + new, new, least)

    def _most_new(self, prompt_length: int) -> int | None:
        """New tokens that call or file allow; arguments go before the file, and max_new_tokens before max_length."""
        by_call = self.given & {"max_length", "max_new_tokens"}
        if self.max_length is None or "max_new_tokens" in by_call or (self.max_new_tokens and not by_call):
            return self.max_new_tokens
        if self.max_length <= prompt_length:
            source = "" if by_call else f" of {self.accounting.file}"
            raise GenerationError(
                f"The prompt has {prompt_length} tokens, but max_length={self.max_length}{source} counts the prompt: "
                "nothing could be generated. Give a larger one, or max_new_tokens, which does not count the prompt."
            )
        return self.max_length - prompt_length

    def to_hf(self) -> dict[str, Any]:
        """generation_config.json: as it was read, with all stop tokens; or what differs from the defaults."""
        ids = list(self.eos_token_id)
        stops = {"eos_token_id": ids[0] if len(ids) == 1 else ids} if ids else {}
        if self.file:
            return {**self.file, **stops}
        defaults = GenerationSettings()
        own = {name: getattr(self, name) for name in CONSUMED if getattr(self, name) != getattr(defaults, name)}
        # What config.json asks for and is not implemented would be forgotten once there is a file of its own.
        asked = {problem.key: problem.value for problem in self.problems}
        return {
            **{key: list(value) if isinstance(value, tuple) else value for key, value in own.items()},
            **stops,
            **asked,
        }


def _read(account: Account, key: str) -> Any:
    """The normal form of a consumed key; None where it is absent, null, malformed or says nothing."""
    value = account.take(key)
    if value is None or (key == "max_length" and value == UNSET_LENGTH):
        return None
    value = account.read(CONSUMED[key], key, value, fix=f"pass {key}= to generate with another value")
    return None if value is ABSENT else value


def _argument(name: str, value: Any) -> Any:
    check = SEED if name == "seed" else CONSUMED[name]
    plain = getattr(value, "tolist", lambda: value)()  # numpy's numbers and arrays
    try:
        return check.read(plain)
    except (ValueError, TypeError):
        raise GenerationError(f"{name}={summary(value)}: expected {check.expected}.") from None
