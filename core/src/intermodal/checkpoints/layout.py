"""How a SafeTensors file will be laid out: which tensors, in which order and shard, and the header that says so."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from intermodal.checkpoints.header import DTYPES, MAX_HEADER_BYTES
from intermodal.errors import CheckpointError

ALIGNMENT = 64
"""Where tensors begin, in bytes: JAX and TensorFlow take memory without a copy at multiples of it only."""

_STORED = {name: (word, itemsize) for word, (name, itemsize) in DTYPES.items()}


class TensorSpec(NamedTuple):
    """A tensor that will be written; plain tuples do as well.

    Attributes:
        name: in the file.
        dtype: numpy or ml_dtypes name.
        shape: row-major.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]

    @property
    def nbytes(self) -> int:
        """Bytes that it takes.

        Raises:
            CheckpointError: the format has no such dtype.
        """
        if self.dtype not in _STORED:
            raise CheckpointError(f"{self.name} has dtype {self.dtype}; SafeTensors holds {', '.join(_STORED)}.")
        return math.prod(int(dimension) for dimension in self.shape) * _STORED[self.dtype][1]


def misfit(spec: TensorSpec) -> int:
    """0 for a size that keeps the next tensor aligned; else larger, the less alignment it leaves to the next.

    Sorted by it, each tensor begins at a multiple of the largest power of two in its size, of its own items at least.
    """
    size = spec.nbytes
    return max(0, ALIGNMENT - (size & -size)) if size else 0


def header_bytes(ordered: Sequence[TensorSpec], metadata: Mapping[str, str]) -> bytes:
    """The 8 bytes of length and the JSON, padded with spaces so that the data begins at a multiple of 64.

    Raises:
        CheckpointError: metadata is something other than text, or the header would be too long to be read.
    """
    if not all(isinstance(text, str) for pair in metadata.items() for text in pair):
        raise CheckpointError(f"The metadata of a SafeTensors file maps text to text; got {dict(metadata)}.")
    entries: dict[str, object] = {"__metadata__": dict(metadata)} if metadata else {}
    end = 0
    for spec in ordered:
        begin, end = end, end + spec.nbytes
        entries[spec.name] = {
            "dtype": _STORED[spec.dtype][0],
            "shape": [int(dimension) for dimension in spec.shape],
            "data_offsets": [begin, end],
        }
    text = json.dumps(entries, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-(8 + len(text)) % ALIGNMENT)
    if len(text) > MAX_HEADER_BYTES:
        raise CheckpointError(
            f"A file of {len(ordered)} tensors would need a header of {len(text)} bytes; shard it more."
        )
    return len(text).to_bytes(8, "little") + text


def checked_specs(specs: Iterable[tuple[str, str, tuple[int, ...]]]) -> list[TensorSpec]:
    """The specs as such, once it is sure that they can be written.

    Raises:
        CheckpointError: a name is used twice, or a dtype is not the format's.
    """
    found = [TensorSpec(*spec) for spec in specs]
    names: set[str] = set()
    for spec in found:
        if spec.name in names or spec.name == "__metadata__":
            raise CheckpointError(f"Two tensors would have the name {spec.name!r} in one checkpoint.")
        names.add(spec.name)
        _ = spec.nbytes  # refuses dtypes that the format lacks before anything is written
    return found


def deal(specs: Sequence[TensorSpec], max_bytes: int) -> list[list[TensorSpec]]:
    """Deal specs out to shards in their order, none over `max_bytes` that holds more than one tensor.

    It is what huggingface_hub's `split_state_dict_into_shards_factory` does.
    """
    if max_bytes < 1:
        raise CheckpointError(f"Shards of {max_bytes} bytes cannot hold anything; give a size such as 5_000_000_000.")
    shards: list[list[TensorSpec]] = []
    current: list[TensorSpec] = []
    filled = 0
    for spec in specs:
        if spec.nbytes > max_bytes:
            shards.append([spec])
            continue
        if current and filled + spec.nbytes > max_bytes:
            shards.append(current)
            current, filled = [], 0
        current.append(spec)
        filled += spec.nbytes
    if current or not shards:
        shards.append(current)
    return shards
