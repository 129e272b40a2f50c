"""Walk over the beginning of a GGUF file, field by field, fetching only as much of it as the header reaches.

Every length is compared with what the file can still hold before it is used, in Python's unbounded integers, so a
hostile header costs an error and no memory.
"""

import struct
from typing import Any

from intermodal.api import CheckpointError, Repository

FIRST_FETCH = 1 << 20
"""Bytes that the first range request asks for; each further one asks for four times what is there."""

MAX_HEADER = 1 << 28
"""Bytes a header may take. The largest vocabularies published (262,144 tokens, 514,906 merges) take 16 MB."""

MAX_ELEMENTS = 1 << 24
"""Elements that all arrays of a header may hold together."""

MAX_DEPTH = 4
"""How deep arrays may nest."""

ARRAY = 9
STRING = 8
UINT32 = 4

_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_UNPACK_LENGTH = struct.Struct("<Q").unpack_from


class FieldWalk:
    """A position in the beginning of one file.

    Args:
        repository: where the file is; only its `read_range` is used.
        name: the file.

    Attributes:
        position: offset of the next byte to read.
        size: bytes of the file, None where the source does not know.
    """

    def __init__(self, repository: Repository, name: str) -> None:
        self.name = name
        self.position = 0
        self.size = repository.files().get(name)
        self._repository = repository
        self._data = b""
        self._elements = 0

    def fail(self, problem: str) -> CheckpointError:
        """An error that names the file and says where in it the problem is."""
        uri = self._repository.uri
        return CheckpointError(f"{uri if uri.endswith(self.name) else f'{uri}: {self.name}'}: {problem}.")

    def scalar(self, code: str, what: str) -> Any:
        """Read one little-endian number of a `struct` code."""
        stop = self.position + struct.calcsize(code)
        self.require(stop - self.position, what)
        (value,) = struct.unpack_from("<" + code, self._data, self.position)
        self.position = stop
        return value

    def string(self, what: str, limit: int) -> str:
        """Read a length and that many bytes of UTF-8, at most `limit`."""
        length = self.scalar("Q", f"the length of {what}")
        if length > limit:
            raise self.fail(f"{what} is said to be {length:,} bytes long, and at most {limit:,} are allowed")
        self.require(length, what)
        start, self.position = self.position, self.position + length
        return self._decode(self._data[start : self.position], what)

    def value(self, kind: int, key: str, depth: int = 0) -> Any:
        """Read a value of a metadata type: a number, bool or str, or a list of them, which may be nested."""
        if kind == STRING:
            return self.string(f"the value of key {key!r}", MAX_HEADER)
        if kind == ARRAY:
            return self._array(key, depth)
        if kind not in _SCALARS:
            raise self.fail(f"key {key!r} has the value type {kind}, and GGUF knows 0 to 12")
        return self.scalar(_SCALARS[kind], f"the value of key {key!r}")

    def require(self, count: int, what: str) -> None:
        """Have the next `count` bytes at hand.

        Raises:
            CheckpointError: the file or the largest header allowed ends before them.
        """
        stop = self.position + count
        if stop <= len(self._data):
            return
        if self.size is not None and stop > self.size:
            raise self.fail(
                f"{what} needs {count:,} bytes at offset {self.position:,}, but the file ends at {self.size:,}; it is "
                "truncated or damaged: download it again"
            )
        if stop > MAX_HEADER:
            raise self.fail(f"{what} at offset {self.position:,} leads past {MAX_HEADER:,} bytes of header")
        self._fetch(stop)
        self.require(count, what)

    def ends_before(self, stop: int) -> bool:
        """Whether the file is shorter than `stop` bytes, asking for the last of them where its size is not known."""
        if self.size is not None:
            return self.size < stop
        return stop > 0 and not self._repository.read_range(self.name, stop - 1, stop)

    def _fetch(self, stop: int) -> None:
        have = len(self._data)
        target = max(stop, FIRST_FETCH, min(4 * have, MAX_HEADER))
        if self.size is not None:
            target = min(target, self.size)
        self._data += self._repository.read_range(self.name, have, target)
        if len(self._data) < target:
            self.size = len(self._data)

    def _array(self, key: str, depth: int) -> list[Any]:
        what = f"the array of key {key!r}"
        kind = self.scalar("I", f"the element type of key {key!r}")
        count = self.scalar("Q", f"the length of key {key!r}")
        self._elements += count
        if self._elements > MAX_ELEMENTS:
            raise self.fail(f"{what} brings the elements of the header to {self._elements:,}, over {MAX_ELEMENTS:,}")
        if kind == STRING:
            return self._strings(count, what)
        if kind == ARRAY:
            if depth + 1 >= MAX_DEPTH:
                raise self.fail(f"{what} is nested more than {MAX_DEPTH} deep")
            return [self.value(ARRAY, key, depth + 1) for _ in range(count)]
        if kind not in _SCALARS:
            raise self.fail(f"{what} has the element type {kind}, and GGUF knows 0 to 12")
        layout = struct.Struct(f"<{count}{_SCALARS[kind]}")
        self.require(layout.size, what)
        start, self.position = self.position, self.position + layout.size
        return list(layout.unpack_from(self._data, start))

    def _strings(self, count: int, what: str) -> list[str]:
        """Read `count` strings. A vocabulary and its merges are 400,000 of them: hence the bare loop."""
        self.require(8 * count, what)
        strings: list[str] = []
        data, have, position = self._data, len(self._data), self.position
        for _ in range(count):
            start = position + 8
            if start <= have:
                position = start + _UNPACK_LENGTH(data, position)[0]
            if start > have or position > have:
                self.position = start - 8
                strings.append(self.string(f"element {len(strings)} of {what}", MAX_HEADER))
                data, have, position = self._data, len(self._data), self.position
                continue
            try:
                strings.append(data[start:position].decode())
            except UnicodeDecodeError:
                strings.append(self._decode(data[start:position], f"element {len(strings)} of {what}"))
        self.position = position
        return strings

    def _decode(self, raw: bytes, what: str) -> str:
        try:
            return raw.decode()
        except UnicodeDecodeError as error:
            raise self.fail(f"{what} is not UTF-8 ({error.reason} at byte {error.start})") from None
