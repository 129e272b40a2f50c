"""The rows that a tokenizer returns: ids from anywhere, padding, arrays and tensors."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from intermodal.errors import TokenizerError
from intermodal.processing.texts import checked_length

if TYPE_CHECKING:
    import numpy as np

_LIBRARIES = {"np": "numpy", "pt": "torch", "jax": "jax.numpy", "tf": "tensorflow"}


def as_rows(ids: Any) -> Any:
    """Ids as an int, a list of ints or a list of such lists, from lists, arrays or tensors of any library.

    Raises:
        TokenizerError: it is none of these, or holds something else than integers.
    """
    if isinstance(ids, int) and not isinstance(ids, bool):
        return ids
    if isinstance(ids, list | tuple):
        return list(ids) if all(type(item) is int for item in ids) else [as_rows(item) for item in ids]
    if isinstance(ids, Mapping) and "input_ids" in ids:
        return as_rows(ids["input_ids"])
    if callable(to_list := getattr(ids, "tolist", None)):
        plain = to_list()
    elif hasattr(ids, "__array__"):
        import numpy as np

        plain = np.asarray(ids).tolist()
    else:
        plain = None
    if not isinstance(plain, int | list):
        raise TokenizerError(f"Ids are integers, a list or an array of them; got {type(ids).__name__}.")
    return as_rows(plain)


def padded_length(rows: list[list[int]], padding: Any, limit: int | None, multiple: int | None) -> int | None:
    """To how many tokens rows are padded, or None for not at all.

    Args:
        rows: ids.
        padding: the argument of a call.
        limit: what `"max_length"` means.
        multiple: of what the length is made a multiple.

    Raises:
        TokenizerError: an argument means nothing.
    """
    if padding in (False, None, "do_not_pad"):
        return None
    if padding not in (True, "longest", "max_length"):
        raise TokenizerError(f"padding={padding!r}: expected a bool, 'longest' or 'max_length'.")
    if multiple is not None:
        checked_length(multiple)
    length = max(map(len, rows), default=0)
    if padding == "max_length":
        if limit is None:
            return None
        length = limit  # rows that are longer stay as they are
    return -(-length // multiple) * multiple if multiple else length


def check_side(side: str) -> str:
    """A padding side, if it is `"left"` or `"right"`.

    Raises:
        TokenizerError: it is neither.
    """
    if side not in ("left", "right"):
        raise TokenizerError(f"padding_side={side!r}: expected 'left' or 'right'.")
    return side


def pad_rows(rows: dict[str, list[Any]], length: int, pad_id: int, side: str) -> None:
    """Pad each row of the names that a tokenizer gives to `length`, in place; others stay as they are."""
    fill = {"input_ids": pad_id, "attention_mask": 0, "token_type_ids": 0, "special_tokens_mask": 1}
    for name in fill.keys() & rows.keys():
        for index, row in enumerate(rows[name]):
            padding = [fill[name]] * max(length - len(row), 0)
            rows[name][index] = padding + list(row) if side == "left" else list(row) + padding


def as_tensors(rows: Mapping[str, list[Any]], kind: str) -> dict[str, Any]:
    """Rows as tensors of shape (batch, length); offsets (batch, length, 2).

    Args:
        rows: by name.
        kind: `"np"`, `"jax"` or `"tf"` for int32, `"pt"` for int64, which torch wants of labels.

    Raises:
        TokenizerError: there is no such kind, its library is not installed, or rows differ in length.
    """
    if kind not in _LIBRARIES:
        raise TokenizerError(f"return_tensors={kind!r}: expected {', '.join(map(repr, _LIBRARIES))}.")
    lengths = {len(row) for values in rows.values() for row in values if isinstance(row, list | tuple)}
    if len(lengths) > 1:
        raise TokenizerError("Texts of different lengths make no tensor: pass padding=True.")
    import numpy as np

    arrays = {name: np.array(values, dtype=np.int64 if kind == "pt" else np.int32) for name, values in rows.items()}
    return {name: array_as(array, kind) for name, array in arrays.items()}


def array_as(array: np.ndarray, kind: str) -> Any:
    """An array of numpy as a tensor of the same dtype.

    Args:
        array: of any shape.
        kind: `"np"`, `"jax"`, `"tf"` or `"pt"`.

    Raises:
        TokenizerError: there is no such kind, or its library is not installed.
    """
    if kind not in _LIBRARIES:
        raise TokenizerError(f"return_tensors={kind!r}: expected {', '.join(map(repr, _LIBRARIES))}.")
    if kind == "np":
        return array
    try:
        library = importlib.import_module(_LIBRARIES[kind])
    except ImportError as error:
        raise TokenizerError(f"return_tensors={kind!r} needs {_LIBRARIES[kind]}, which is not installed.") from error
    make = {"pt": "from_numpy", "jax": "asarray", "tf": "constant"}[kind]
    return getattr(library, make)(array)
