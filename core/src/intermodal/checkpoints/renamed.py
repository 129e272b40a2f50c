"""A checkpoint under other tensor names: what `key_mapping` makes of one."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from intermodal.checkpoints.base import Checkpoint
from intermodal.errors import CheckpointError

if TYPE_CHECKING:
    import numpy as np

    from intermodal.processing.tokenizer import TokenizerParts
    from intermodal.weights.packing import Packing


class RenamedCheckpoint(Checkpoint):
    """Another checkpoint whose tensors are called otherwise.

    Args:
        checkpoint: the one to read from.
        key_mapping: regular expression → replacement (with `\\1` for a group), each applied in turn to every name,
            wherever in it the expression is found; as transformers' argument of that name.

    Raises:
        CheckpointError: an expression is malformed or found in no name, or two tensors would have one name.
    """

    def __init__(self, checkpoint: Checkpoint, key_mapping: Mapping[str, str]) -> None:
        self._inner = checkpoint
        self.format, self.dialect, self.family_key = checkpoint.format, checkpoint.dialect, checkpoint.family_key
        self.config, self.metadata, self.repository = checkpoint.config, checkpoint.metadata, checkpoint.repository
        self._original = _renamed(checkpoint, key_mapping)
        self.tensors = {new: replace(checkpoint.tensors[old], name=new) for new, old in self._original.items()}

    def read(self, name: str) -> np.ndarray:
        """See `Checkpoint.read`."""
        return self._inner.read(self._original[name])

    def read_into(self, name: str, out: np.ndarray, row: int = 0) -> None:
        """See `Checkpoint.read_into`."""
        self._inner.read_into(self._original[name], out, row)

    def read_together(self, targets: Mapping[str, np.ndarray]) -> None:
        """See `Checkpoint.read_together`."""
        self._inner.read_together({self._original[name]: out for name, out in targets.items()})

    def packing(self, name: str) -> Packing | None:
        """See `Checkpoint.packing`."""
        return self._inner.packing(self._original[name])

    def read_packed(self, name: str, out: Mapping[str, np.ndarray]) -> None:
        """See `Checkpoint.read_packed`."""
        self._inner.read_packed(self._original[name], out)

    def map_copy_on_write(self, name: str) -> np.ndarray | None:
        """See `Checkpoint.map_copy_on_write`."""
        return self._inner.map_copy_on_write(self._original[name])

    def prepare(self) -> None:
        """See `Checkpoint.prepare`."""
        self._inner.prepare()

    def tokenizer_parts(self) -> TokenizerParts | None:
        """See `Checkpoint.tokenizer_parts`."""
        return self._inner.tokenizer_parts()

    def close(self) -> None:
        """See `Checkpoint.close`."""
        self._inner.close()


def _renamed(checkpoint: Checkpoint, key_mapping: Mapping[str, str]) -> dict[str, str]:
    """New name → the file's name."""
    names = {name: name for name in checkpoint.tensors}  # the file's name → the new one so far
    for pattern, replacement in key_mapping.items():
        try:
            found = {old: re.sub(pattern, replacement, name) for old, name in names.items() if re.search(pattern, name)}
        except (re.error, TypeError) as error:
            raise CheckpointError(f"key_mapping: {pattern!r} → {replacement!r} cannot be applied: {error}.") from error
        if not found:
            example = next(iter(names.values()), "none")
            raise CheckpointError(
                f"key_mapping: {pattern!r} is found in no tensor name of {checkpoint.repository.uri}; one of them is "
                f"{example!r}."
            )
        names.update(found)
    original: dict[str, str] = {}
    for old, new in names.items():
        if new in original:
            raise CheckpointError(f"key_mapping gives {original[new]!r} and {old!r} the same name, {new!r}.")
        original[new] = old
    return original
