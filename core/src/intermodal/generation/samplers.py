"""KerasHub's samplers, by name, config or object, as settings of our own generation."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from intermodal.errors import GenerationError

DEFAULTS: dict[str, dict[str, Any]] = {
    "greedy": {"temperature": 1.0},
    "random": {"temperature": 1.0, "seed": None},
    "top_k": {"temperature": 1.0, "seed": None, "k": 5},
    "top_p": {"temperature": 1.0, "seed": None, "p": 0.1, "k": None},
}
"""What each sampler takes, and KerasHub 0.32's defaults."""

_EXPECTED = (
    f"expected one of {', '.join(DEFAULTS)}, or such a sampler's config: "
    '{"class_name": "top_k", "config": {"k": 10}}'
)

CLASS_NAMES = {"GreedySampler": "greedy", "RandomSampler": "random", "TopKSampler": "top_k", "TopPSampler": "top_p"}


@dataclass(frozen=True)
class Sampler:
    """One of KerasHub's samplers.

    Attributes:
        name: a key of `DEFAULTS`.
        config: all that it takes.
    """

    name: str
    config: Mapping[str, Any]
    _calls: Iterator[int] = field(default_factory=itertools.count, compare=False, repr=False)

    def settings(self) -> dict[str, Any]:
        """Arguments of `GenerationSettings.override` that choose tokens as this sampler does.

        A seed gives the same texts in the same order of calls, and another text in each of them.
        """
        if self.name == "greedy":
            return {"do_sample": False}
        seed, call = self.config["seed"], next(self._calls)
        return {
            "do_sample": True,
            "temperature": self.config["temperature"],
            "top_k": self.config["k"] if self.name == "top_k" else 0,
            "top_p": self.config["p"] if self.name == "top_p" else 1.0,
            "seed": None if seed is None else seed + call,
        }

    def get_config(self) -> dict[str, Any]:
        """What `read_sampler` makes the same sampler of, in KerasHub's form."""
        return {"class_name": self.name, "config": dict(self.config)}


def read_sampler(identifier: Any) -> Sampler:
    """The sampler that `compile(sampler=…)` names.

    Args:
        identifier: a name of `DEFAULTS`; KerasHub's config of one, `{"class_name": "top_k", "config": {"k": 10}}`; or a
            sampler object of KerasHub's, which is asked for its config.

    Raises:
        GenerationError: it is another sampler, a sampler of the user's own, or takes something else.
    """
    if isinstance(identifier, Sampler):
        return identifier
    if isinstance(identifier, str):
        name, config = identifier, {}
    elif isinstance(identifier, Mapping):
        name, config = str(identifier.get("class_name")), identifier.get("config") or {}
    elif type(identifier).__module__.startswith("keras_hub.") and hasattr(identifier, "get_config"):
        name, config = type(identifier).__name__, identifier.get_config()
    else:
        raise GenerationError(f"sampler={identifier!r}: {_EXPECTED}.")
    name = name.rpartition(">")[2]
    name = CLASS_NAMES.get(name, name)
    if name not in DEFAULTS:
        raise GenerationError(f"sampler={name!r} is not implemented: {_EXPECTED}.")
    unknown = sorted(set(config) - set(DEFAULTS[name]))
    if unknown:
        raise GenerationError(f"The sampler {name} takes {', '.join(DEFAULTS[name])}; not {', '.join(unknown)}.")
    full = {**DEFAULTS[name], **config}
    if name == "top_p" and full["k"] is not None:
        raise GenerationError(
            f"The sampler top_p with k={full['k']} is not implemented: KerasHub cuts to the k likeliest and adds up "
            "their probabilities of all tokens, which is another choice than top_k and top_p together. Leave k out."
        )
    return Sampler(name, full)
