"""The texts that a tokenizer is called with, and the arguments that say how they are cut."""

from __future__ import annotations

from typing import Any

from intermodal.errors import TokenizerError


def as_batch(text: Any, text_pair: Any, split: bool = False) -> tuple[list[Any], bool]:
    """The texts of a call as a list of texts or of pairs, and whether it was a single one.

    Args:
        text: a text, or a list of texts or of pairs.
        text_pair: the second text of each; an empty one beside a single text counts as none, as in transformers.
        split: a text is a list of words, and not a string.

    Raises:
        TokenizerError: it is neither, or both are mixed.
    """
    is_text = _is_words if split else _is_string
    single = is_text(text)
    texts = [text] if single else text
    if not isinstance(texts, list | tuple):
        raise TokenizerError(f"Text is a string, or a list of strings or pairs; got {type(text).__name__}.")
    if text_pair is not None and not (single and not text_pair):
        pairs = [text_pair] if single else text_pair
        if not isinstance(pairs, list | tuple) or len(pairs) != len(texts):
            raise TokenizerError(f"text_pair has one text for each of the {len(texts)} texts.")
        texts = list(zip(texts, pairs, strict=True))
    for index, item in enumerate(texts):
        is_pair = isinstance(item, list | tuple) and len(item) == 2 and all(map(is_text, item))
        if not is_text(item) and not is_pair:
            expected = "a list of words" if split else "a string"
            raise TokenizerError(f"Text {index} is a {type(item).__name__}; expected {expected} or a pair of them.")
        if is_text(item) != is_text(texts[0]):
            raise TokenizerError("A batch has either single texts or pairs, not both.")
    return [item if is_text(item) else tuple(item) for item in texts], single


def _is_string(value: Any) -> bool:
    return isinstance(value, str)


def _is_words(value: Any) -> bool:
    return isinstance(value, list | tuple) and all(isinstance(word, str) for word in value)


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
