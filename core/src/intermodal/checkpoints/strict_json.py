"""JSON files of a checkpoint, read without mercy: bounded, UTF-8, one object, no key twice, no NaN."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any, NoReturn

from intermodal.errors import CheckpointError, IntermodalError

if TYPE_CHECKING:
    from intermodal.sources.base import Repository

CONFIG_LIMIT = 10_000_000  # bytes of config.json and its like


def parse_object(data: bytes, where: str, error: type[IntermodalError] = CheckpointError) -> dict[str, Any]:
    """Parse a JSON object.

    Args:
        data: the file's bytes; the caller has bounded their number.
        where: file and repository, for the message.
        error: what to raise.

    Raises:
        IntermodalError: of the class `error`: not UTF-8, not JSON, no object, nested too deeply, a key twice, or a
            number that is not finite.
    """

    def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(items)
        if len(found) != len(items):
            seen: set[str] = set()
            twice = next(key for key, _ in items if key in seen or seen.add(key))
            raise error(f"{where}: the key {twice[:200]!r} stands there twice, so its meaning depends on the reader.")
        return found

    def number(text: str) -> float:
        value = float(text)
        return value if math.isfinite(value) else constant(text)

    def constant(text: str) -> NoReturn:
        raise error(f"{where}: the value {text[:50]} is no JSON number that can be used; expected a finite one.")

    try:
        value = json.loads(data.decode("utf-8"), object_pairs_hook=pairs, parse_float=number, parse_constant=constant)
    except RecursionError:
        raise error(f"{where} is nested too deeply to be read.") from None
    except ValueError as problem:  # of the JSON, of its UTF-8, or an integer of thousands of digits
        raise error(f"{where} is not valid JSON: {problem}. Download or write the file again.") from None
    if not isinstance(value, dict):
        raise error(f"{where} holds a {type(value).__name__}, expected a JSON object.")
    return value


def read_object(
    repository: Repository, name: str, error: type[IntermodalError] = CheckpointError, limit: int = CONFIG_LIMIT
) -> dict[str, Any]:
    """Read a JSON object from a file of a repository.

    Raises:
        SourceError: the file is missing, or larger than `limit` bytes.
        IntermodalError: of the class `error`: as `parse_object`.
    """
    return parse_object(repository.read_small(name, limit), f"{name} of {repository.uri}", error)
