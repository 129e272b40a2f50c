"""The arguments of a tokenizer's call and the rows it returns: batches, padding, arrays."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from intermodal.errors import TokenizerError


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


def as_batch(text: Any, text_pair: Any) -> tuple[list[Any], bool]:
    """The texts of a call as a list of strings or of pairs, and whether it was a single one.

    Raises:
        TokenizerError: it is neither, or both are mixed.
    """
    single = isinstance(text, str)
    texts = [text] if single else text
    if not isinstance(texts, list | tuple):
        raise TokenizerError(f"Text is a string, or a list of strings or pairs; got {type(text).__name__}.")
    if text_pair is not None:
        pairs = [text_pair] if single else text_pair
        if not isinstance(pairs, list | tuple) or len(pairs) != len(texts):
            raise TokenizerError(f"text_pair has one text for each of the {len(texts)} texts.")
        texts = list(zip(texts, pairs, strict=True))
    for index, item in enumerate(texts):
        is_pair = isinstance(item, list | tuple) and len(item) == 2 and all(isinstance(part, str) for part in item)
        if not isinstance(item, str) and not is_pair:
            raise TokenizerError(f"Text {index} is a {type(item).__name__}; expected a string or a pair of strings.")
        if is_pair == isinstance(texts[0], str):
            raise TokenizerError("A batch has either single texts or pairs, not both.")
    return [item if isinstance(item, str) else tuple(item) for item in texts], single


def truncation_strategy(truncation: Any) -> str | None:
    """What the argument `truncation` means, in the words of the tokenizers library; None for none.

    Raises:
        TokenizerError: it means nothing.
    """
    if truncation in (False, None, "do_not_truncate"):
        return None
    strategy = "longest_first" if truncation is True else truncation
    if strategy not in ("longest_first", "only_first", "only_second"):
        raise TokenizerError(
            f"truncation={truncation!r}: expected a bool, 'longest_first', 'only_first', 'only_second'."
        )
    return strategy


def checked_length(max_length: Any) -> int:
    """`max_length`, if it is a positive integer.

    Raises:
        TokenizerError: it is not.
    """
    if not isinstance(max_length, int) or isinstance(max_length, bool) or not 1 <= max_length < 2**31:
        raise TokenizerError(f"max_length={max_length!r}: expected a positive integer.")
    return max_length


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
        length = max(length, limit)
    return -(-length // multiple) * multiple if multiple else length


def pad_rows(rows: dict[str, list[list[Any]]], length: int, pad_id: int, side: str) -> None:
    """Pad each row of each name to `length` in place, on the `"left"` or `"right"`.

    Raises:
        TokenizerError: `side` is neither.
    """
    if side not in ("left", "right"):
        raise TokenizerError(f"padding_side={side!r}: expected 'left' or 'right'.")
    fill = {"input_ids": pad_id, "attention_mask": 0, "token_type_ids": 0, "offset_mapping": (0, 0)}
    for name, values in rows.items():
        for index, row in enumerate(values):
            padding = [fill[name]] * max(length - len(row), 0)
            values[index] = padding + row if side == "left" else row + padding


def as_arrays(rows: Mapping[str, list[list[Any]]], kind: str) -> dict[str, Any]:
    """Rows as int32 arrays of shape (batch, length); offsets (batch, length, 2).

    Raises:
        TokenizerError: `kind` is not `"np"`, or rows differ in length.
    """
    if kind != "np":
        raise TokenizerError(f"return_tensors={kind!r}: expected 'np'; every Keras backend takes numpy arrays.")
    if len({len(row) for row in rows["input_ids"]}) > 1:
        raise TokenizerError("Texts of different lengths make no array: pass padding=True.")
    import numpy as np

    return {name: np.array(values, dtype=np.int32) for name, values in rows.items()}
