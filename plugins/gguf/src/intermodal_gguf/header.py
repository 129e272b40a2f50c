"""Read and check the header of one GGUF file: its metadata, and where each tensor is."""

import math
from dataclasses import dataclass
from typing import Any

from intermodal.api import Repository, TensorInfo

from intermodal_gguf.fields import UINT32, FieldWalk
from intermodal_gguf.types import STORAGE_TYPES, UNREADABLE, StorageType

MAX_KEY = (1 << 16) - 1
MAX_NAME = 63
MAX_DIMENSIONS = 4
MAX_VALUES = 1 << 60
DEFAULT_ALIGNMENT = 32

# The least bytes that an entry can take: what bounds the two counts before any entry is read.
_LEAST_PAIR = 8 + 1 + 4 + 1
_LEAST_TENSOR = 8 + 4 + 4 + 8


@dataclass(frozen=True)
class Header:
    """What the beginning of a GGUF file says.

    Attributes:
        file: its name in the repository.
        version: of the format, 2 or 3.
        metadata: key → number, bool, str or list, in the file's order.
        tensors: name → where and how it is stored, in the file's order, offsets counted from the file's beginning.
    """

    file: str
    version: int
    metadata: dict[str, Any]
    tensors: dict[str, TensorInfo]


def read_header(repository: Repository, name: str) -> Header:
    """Read the header of the file `name`, fetching nothing behind it.

    Raises:
        CheckpointError: it is no GGUF file, of a version or byte order that is not read, or malformed: the same
            cases as llama.cpp refuses (`gguf_init_from_reader`), and lengths beyond what the file can hold.
    """
    walk = FieldWalk(repository, name)
    version = _read_version(walk)
    tensor_count = walk.scalar("Q", "the number of tensors")
    pair_count = walk.scalar("Q", "the number of keys")
    _bound(walk, pair_count, _LEAST_PAIR, "keys")
    _bound(walk, tensor_count, _LEAST_TENSOR, "tensors")
    metadata, alignment = _read_metadata(walk, pair_count)
    entries = [_read_tensor(walk) for _ in range(tensor_count)]
    start = _padded(walk.position, alignment)
    tensors = _place(walk, entries, start, alignment)
    return Header(name, version, metadata, tensors)


def _read_version(walk: FieldWalk) -> int:
    walk.require(4, "the magic 'GGUF'")
    magic = walk.scalar("4s", "the magic 'GGUF'")
    if magic == b"vers":
        raise walk.fail("this is a Git LFS pointer, not the model itself: run `git lfs pull` in its repository")
    if magic != b"GGUF":
        raise walk.fail(f"this is no GGUF file: it begins with {magic!r} instead of b'GGUF'")
    version = walk.scalar("I", "the version")
    if version & 0xFFFF == 0 and version:
        raise walk.fail(
            "this file is big-endian, and only little-endian ones are read: convert it with "
            f"`gguf-convert-endian {walk.name} little` of the gguf package"
        )
    if version not in (2, 3):
        raise walk.fail(
            f"this is version {version} of GGUF, and 2 and 3 are read: write it again with a current llama.cpp"
        )
    return version


def _bound(walk: FieldWalk, count: int, least: int, what: str) -> None:
    if walk.size is not None and count * least > walk.size - walk.position:
        raise walk.fail(f"the header announces {count:,} {what}, more than a file of {walk.size:,} bytes can hold")


def _read_metadata(walk: FieldWalk, count: int) -> tuple[dict[str, Any], int]:
    metadata: dict[str, Any] = {}
    alignment = DEFAULT_ALIGNMENT
    for index in range(count):
        key = walk.string(f"key number {index}", MAX_KEY)
        if not key:
            raise walk.fail(f"key number {index} is empty")
        if key in metadata:
            raise walk.fail(f"the key {key!r} is there twice")
        kind = walk.scalar("I", f"the type of key {key!r}")
        metadata[key] = walk.value(kind, key)
        if key == "general.alignment":
            alignment = metadata[key]
            if kind != UINT32:
                raise walk.fail(f"general.alignment has the value type {kind}, expected {UINT32} (uint32)")
            if alignment == 0 or alignment & (alignment - 1):
                raise walk.fail(f"general.alignment is {alignment}, expected a power of two")
    return metadata, alignment


@dataclass(frozen=True)
class _Entry:
    name: str
    shape: tuple[int, ...]
    storage: StorageType
    nbytes: int
    offset: int


def _read_tensor(walk: FieldWalk) -> _Entry:
    name = walk.string("a tensor's name", MAX_NAME)
    dimensions = walk.scalar("I", f"the number of dimensions of tensor {name!r}")
    if dimensions > MAX_DIMENSIONS:
        raise walk.fail(f"tensor {name!r} has {dimensions} dimensions, and GGUF allows {MAX_DIMENSIONS}")
    # GGUF lists the fastest dimension first; numpy has it last.
    shape = tuple(walk.scalar("Q", f"the shape of tensor {name!r}") for _ in range(dimensions))[::-1]
    if math.prod(size for size in shape if size) > MAX_VALUES:
        raise walk.fail(f"tensor {name!r} has the impossible shape {shape}")
    number = walk.scalar("I", f"the type of tensor {name!r}")
    storage = STORAGE_TYPES.get(number)
    if storage is None:
        known, reason = UNREADABLE.get(number, (str(number), "it is unknown; is a newer intermodal-gguf available?"))
        raise walk.fail(f"tensor {name!r} is stored as type {known}, which cannot be read: {reason}")
    row = shape[-1] if shape else 1
    if row % storage.block:
        raise walk.fail(
            f"tensor {name!r} of shape {shape} has rows of {row} values, and {storage.name} packs {storage.block} "
            "values into a block"
        )
    nbytes = math.prod(shape) // storage.block * storage.size
    return _Entry(name, shape, storage, nbytes, walk.scalar("Q", f"the offset of tensor {name!r}"))


def _place(walk: FieldWalk, entries: list[_Entry], start: int, alignment: int) -> dict[str, TensorInfo]:
    """Check that the tensors lie one behind another, each at the next aligned offset, and end within the file."""
    tensors: dict[str, TensorInfo] = {}
    expected = 0
    for entry in entries:
        if entry.name in tensors:
            raise walk.fail(f"the tensor {entry.name!r} is there twice")
        if entry.offset != expected:
            raise walk.fail(
                f"tensor {entry.name!r} begins at offset {entry.offset:,} of the data, expected {expected:,}: tensors "
                f"follow each other without overlap or hole, aligned to {alignment}"
            )
        stop = start + entry.offset + entry.nbytes
        if (walk.size is not None or entry is entries[-1]) and walk.ends_before(stop):
            raise walk.fail(
                f"tensor {entry.name!r} ({entry.storage.name}, shape {entry.shape}) ends at byte {stop:,}, and the "
                f"file {'before it' if walk.size is None else f'has {walk.size:,}'}; it is truncated: download it again"
            )
        expected = _padded(entry.offset + entry.nbytes, alignment)
        tensors[entry.name] = TensorInfo(
            name=entry.name,
            dtype=entry.storage.dtype,
            shape=entry.shape,
            nbytes=entry.nbytes,
            file=walk.name,
            offset=start + entry.offset,
            stored=entry.storage.name,
        )
    return tensors


def _padded(size: int, alignment: int) -> int:
    return -(-size // alignment) * alignment
