"""Small text files of a repository, JSON among them, with errors that say where they are wrong."""

from __future__ import annotations

import json
from typing import Any

from intermodal.errors import TokenizerError
from intermodal.sources.base import Repository

MAX_JSON = 100 << 20
MAX_TEXT = 4 << 20


def read_text(repository: Repository, name: str, limit: int = MAX_TEXT) -> str:
    """A text file of at most `limit` bytes, its lines apart by a mere line feed.

    Raises:
        SourceError: it is larger, or cannot be read.
        TokenizerError: it is not UTF-8.
    """
    try:
        return repository.read_small(name, limit).decode("utf-8").replace("\r\n", "\n").replace("\r", "\n")
    except UnicodeDecodeError as error:
        raise TokenizerError(f"{name} of {repository.uri} is not UTF-8: {error}.") from error


def read_object(repository: Repository, name: str, limit: int = MAX_TEXT) -> dict[str, Any]:
    """A JSON object.

    Raises:
        SourceError: the file is too large, or cannot be read.
        TokenizerError: it is malformed, or holds something else.
    """
    try:
        value = json.loads(read_text(repository, name, limit))
    except json.JSONDecodeError as error:
        raise TokenizerError(
            f"{name} of {repository.uri} is not valid JSON: line {error.lineno}, column {error.colno}: {error.msg}."
        ) from error
    except (ValueError, RecursionError) as error:
        raise TokenizerError(f"{name} of {repository.uri} is not valid JSON: {error}.") from error
    if not isinstance(value, dict):
        raise TokenizerError(f"{name} of {repository.uri} holds {type(value).__name__}, expected an object.")
    return value
