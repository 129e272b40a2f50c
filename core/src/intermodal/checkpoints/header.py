"""The header of one SafeTensors file: every check before anything is allocated for its tensors.

Layout (https://github.com/huggingface/safetensors#format): 8 bytes n (little-endian), n bytes of JSON, padded with
spaces, then the tensors' bytes without a gap.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from intermodal.checkpoints.base import TensorInfo
from intermodal.checkpoints.strict_json import parse_object
from intermodal.errors import CheckpointError

if TYPE_CHECKING:
    from intermodal.sources.base import Repository

MAX_HEADER_BYTES = 100_000_000  # the limit of the format's own reader
_MAX_HEADER_ITEMS = 4_000_000  # brackets and commas: the objects that parsing makes, some 100 bytes each
_FIRST_READ = 128 * 1024  # most headers come with the first request
_MAX_RANK = 32
_MAX_SIZE = 1 << 60  # values; more than numpy could index, which an empty tensor could otherwise claim

DTYPES: dict[str, tuple[str, int]] = {
    "BOOL": ("bool", 1),
    "U8": ("uint8", 1),
    "I8": ("int8", 1),
    "U16": ("uint16", 2),
    "I16": ("int16", 2),
    "U32": ("uint32", 4),
    "I32": ("int32", 4),
    "U64": ("uint64", 8),
    "I64": ("int64", 8),
    "F8_E4M3": ("float8_e4m3fn", 1),
    "F8_E5M2": ("float8_e5m2", 1),
    "F8_E8M0": ("float8_e8m0fnu", 1),
    "F8_E4M3FNUZ": ("float8_e4m3fnuz", 1),
    "F8_E5M2FNUZ": ("float8_e5m2fnuz", 1),
    "F16": ("float16", 2),
    "BF16": ("bfloat16", 2),
    "F32": ("float32", 4),
    "F64": ("float64", 8),
    "C64": ("complex64", 8),
}
"""The format's word for a dtype → its numpy or ml_dtypes name, and bytes per value. The packed F4 and F6 have none."""


@dataclass(frozen=True)
class Header:
    """What a SafeTensors file says of itself.

    Attributes:
        file: its name in the repository.
        size: bytes of the whole file.
        metadata: its `__metadata__`.
        tensors: name → what is known of it, in the order of their bytes.
    """

    file: str
    size: int
    metadata: dict[str, str]
    tensors: dict[str, TensorInfo]


def read_header(repository: Repository, name: str) -> Header:
    """Read and check the header of a file, by ranges: a remote file is not downloaded.

    Raises:
        CheckpointError: the file is no SafeTensors file, is truncated, or its header contradicts itself.
        SourceError: it cannot be read.
    """
    where = f"{name} of {repository.uri}"
    size = repository.files().get(name)
    if size is None:
        size = repository.local_path(name).stat().st_size
    start = repository.read_range(name, 0, min(size, _FIRST_READ))
    if start.startswith(b"version https://git-lfs"):
        raise CheckpointError(f"{where} is a Git LFS pointer, not the weights. Run `git lfs pull` in its repository.")
    if len(start) < 10:
        raise CheckpointError(f"{where} has {size} bytes, which is too few for a SafeTensors file. Download it again.")
    length = int.from_bytes(start[:8], "little")
    if length > MAX_HEADER_BYTES:
        raise CheckpointError(
            f"{where}: the header is said to have {length} bytes, expected at most {MAX_HEADER_BYTES}. This is no "
            "SafeTensors file, or a damaged one."
        )
    if 8 + length > size:
        raise CheckpointError(f"{where}: the header ends at byte {8 + length} of {size}. The file is truncated.")
    data = start[8 : 8 + length]
    if len(data) < length:
        data += repository.read_range(name, 8 + len(data), 8 + length)
    if len(data) != length:
        raise CheckpointError(f"{where} was truncated while its header was read.")
    return _parse(data, name, where, size)


def _parse(data: bytes, name: str, where: str, size: int) -> Header:
    if not data.startswith(b"{"):
        raise CheckpointError(f"{where} is no SafeTensors file: its header begins with {data[:8]!r}, expected {{.")
    if sum(map(data.count, (b",", b"{", b"["))) > _MAX_HEADER_ITEMS:
        raise CheckpointError(f"{where}: the header has more than {_MAX_HEADER_ITEMS} items; no checkpoint needs that.")
    entries = parse_object(data, f"The header of {where}")
    metadata = entries.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise CheckpointError(f"{where}: __metadata__ in the header must map text to text.")
    begin = 8 + len(data)
    tensors = [_tensor(key, entry, begin, name, where) for key, entry in entries.items()]
    # Empty tensors share their offset with the one after them, which must not come first.
    tensors.sort(key=lambda tensor: (tensor.offset, tensor.nbytes))
    end = begin
    for tensor in tensors:
        if tensor.offset != end:
            problem = "overlaps the one before it" if tensor.offset < end else "leaves a hole before it"
            raise CheckpointError(
                f"{where}: tensor {tensor.name!r} {problem}: it begins at byte {tensor.offset - begin} of the data, "
                f"expected {end - begin}."
            )
        end += tensor.nbytes
    if end != size:
        problem = "The file is truncated." if end > size else "There is something behind the tensors."
        raise CheckpointError(f"{where}: the tensors end at byte {end}, and the file at {size}. {problem}")
    return Header(name, size, metadata, {tensor.name: tensor for tensor in tensors})


def _tensor(key: str, entry: Any, begin: int, name: str, where: str) -> TensorInfo:
    shown = f"{where}: tensor {key[:200]!r}"
    if not _is_text(key):
        raise CheckpointError(f"{shown} has a name that is not valid Unicode.")
    if not isinstance(entry, dict) or entry.keys() != {"dtype", "shape", "data_offsets"}:
        raise CheckpointError(f"{shown}: expected exactly dtype, shape and data_offsets in its header entry.")
    stored, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(stored, str) or stored not in DTYPES:
        raise CheckpointError(f"{shown} has the dtype {str(stored)[:50]!r}; known are {', '.join(DTYPES)}.")
    if not _are_sizes(shape) or len(shape) > _MAX_RANK or math.prod(filter(None, shape)) > _MAX_SIZE:
        raise CheckpointError(f"{shown} has the shape {str(shape)[:100]}, expected up to {_MAX_RANK} sizes from 0 on.")
    if not _are_sizes(offsets) or len(offsets) != 2 or offsets[0] > offsets[1]:
        raise CheckpointError(f"{shown} has data_offsets {str(offsets)[:100]}, expected [begin, end] from 0 on.")
    dtype, itemsize = DTYPES[stored]
    nbytes = math.prod(shape) * itemsize
    if nbytes != offsets[1] - offsets[0]:
        raise CheckpointError(
            f"{shown} has {offsets[1] - offsets[0]} bytes, but its shape {tuple(shape)} of {stored} takes {nbytes}."
        )
    return TensorInfo(key, dtype, tuple(shape), nbytes, name, begin + offsets[0], stored)


def _is_text(key: str) -> bool:
    return not any("\ud800" <= char <= "\udfff" for char in key) if not key.isascii() else True


def _are_sizes(values: Any) -> bool:
    """Whether it is a list of integers from 0 on that a file can hold; JSON's true is no integer."""
    return isinstance(values, list) and all(type(value) is int and 0 <= value < 1 << 63 for value in values)
