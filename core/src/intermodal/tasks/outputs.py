"""What a model returns to those who call it as transformers' models are called, with keywords alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class Outputs(dict[str, Any]):
    """Tensors by name, as attributes too, and by number: `outputs.logits`, `outputs["logits"]`, `outputs[0]`."""

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(f"There is no {name!r} here, only {', '.join(self)}.") from None

    def __getitem__(self, key: Any) -> Any:
        return super().__getitem__(key) if isinstance(key, str) else self.to_tuple()[key]

    def to_tuple(self) -> tuple[Any, ...]:
        """The tensors alone."""
        return tuple(self.values())


def named_outputs(result: Any, name: str) -> Outputs:
    """The result of a model, a tensor or tensors by name.

    Args:
        result: as the task computes it.
        name: what a single tensor is called.
    """
    return Outputs(result) if isinstance(result, Mapping) else Outputs({name: result})
