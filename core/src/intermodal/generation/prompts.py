"""What users pass as a prompt, brought to one form: a list of token ids for each row."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from intermodal.errors import GenerationError, TokenizerError

EXPECTED = 'a string, a list of strings, {"text": …, "images": …}, token ids, or {"input_ids": …, "attention_mask": …}'
_BY_KEYWORD = ("input_ids", "attention_mask", "token_type_ids", "pixel_values")


@dataclass(frozen=True)
class Prompts:
    """Prompts as ids.

    Attributes:
        rows: ids of each prompt, without padding; none is empty.
        form: what was passed, and so what is returned: one text, several, or ids.
        given: (B, T) ids as they were passed, padding included; None for text.
        inputs: what the backbone reads beside the ids, such as pixels.
    """

    rows: list[list[int]]
    form: Literal["text", "texts", "ids"]
    given: np.ndarray | None = None
    inputs: Mapping[str, np.ndarray] = field(default_factory=dict)


def read_prompts(prompt: Any, model: Any, bos: int | None) -> Prompts:
    """Tokenize text, or check ids.

    Args:
        prompt: see `EXPECTED`. Ids are (B, T) or (T,), lists, arrays or tensors of any library; the mask is 1 for text.
            Beside ids stands what else the model takes (`pixel_values`); images beside texts are as `Processor` takes
            them, and a list of `{"text": …, "images": …}` is several prompts.
        model: for its tokenizer, its processor and the size of its vocabulary.
        bos: what an empty prompt begins with, if there is such a token.

    Raises:
        GenerationError: it is something else, is empty, or holds ids that the model does not know.
        InputError: images cannot be read, or are not as many as the text says.
        TokenizerError: it is text, and the checkpoint has no tokenizer.
    """
    listed = list(prompt) if isinstance(prompt, list | tuple) else []
    texts = isinstance(prompt, str) or (isinstance(prompt, list | tuple) and all(isinstance(t, str) for t in listed))
    if texts and getattr(model, "processor", None) is None:
        single = isinstance(prompt, str)
        return Prompts(encode([prompt] if single else listed, model, bos), "text" if single else "texts")
    if texts or "text" in _keys(prompt) or any(isinstance(entry, Mapping) for entry in listed):
        from intermodal.generation.image_prompts import read_with_images

        return read_with_images(prompt, model, bos)
    if isinstance(prompt, Mapping):
        return _read_ids(prompt, model)
    if (listed and not any(isinstance(entry, str) for entry in listed)) or hasattr(prompt, "shape"):
        return _read_ids({"input_ids": prompt}, model)
    raise GenerationError(f"A prompt is {EXPECTED}; got {type(prompt).__name__}.")


def _keys(prompt: Any) -> set[Any]:
    return set(prompt) if isinstance(prompt, Mapping) else set()


def take_prompt(prompt: Any, options: dict[str, Any]) -> Any:
    """The prompt of a call that may give it by keywords, as `generate(**tokenizer(text), max_new_tokens=9)` does.

    Args:
        prompt: the first argument, or None.
        options: the keywords; what belongs to the prompt is removed from them.

    Raises:
        GenerationError: there is none, or there are two.
    """
    given = {name: options.pop(name) for name in _BY_KEYWORD if options.get(name) is not None}
    inputs = options.pop("inputs", None)
    first = prompt if prompt is not None else inputs
    if (first is None) == ("input_ids" not in given) or (prompt is not None and inputs is not None):
        raise GenerationError(f"A prompt is {EXPECTED}, given once: first, or as input_ids=….")
    if first is None or not given:
        return given if first is None else first
    if isinstance(first, str | Mapping):
        raise GenerationError(f"{', '.join(given)} goes with token ids, and not with a {type(first).__name__}.")
    return {"input_ids": first, **given}


def require_tokenizer(model: Any) -> Any:
    """The model's tokenizer.

    Raises:
        TokenizerError: it has none.
    """
    if model.tokenizer is None:
        raise TokenizerError(
            'The checkpoint holds no tokenizer, so text cannot be read: pass {"input_ids": …}, or set model.tokenizer.'
        )
    return model.tokenizer


def encode(texts: list[str], model: Any, bos: int | None) -> list[list[int]]:
    """Ids of each text. Raises as `read_prompts` does."""
    tokenizer = require_tokenizer(model)
    return begun(tokenizer(texts)["input_ids"] if texts else [], model, bos)


def begun(rows: list[list[int]], model: Any, bos: int | None) -> list[list[int]]:
    """Encoded prompts, checked; an empty one begins with the token that begins a text.

    Raises:
        GenerationError: there is no such token, or the model does not know an id.
    """
    for index, row in enumerate(rows):
        if not row and bos is None:
            raise GenerationError(f"Prompt {index} is empty, and the model has no token to begin a text with.")
        rows[index] = check_ids(row if bos is None else row or [bos], index, known_ids(model))
    return rows


def known_ids(model: Any) -> int:
    """How many ids the model takes: those of its table, and an image token beyond it, which has no row of its own."""
    return max(model.config.vocab_size, getattr(model.config, "image_token_id", -1) + 1)


def check_ids(row: list[int], index: int, vocabulary: int) -> list[int]:
    """The ids of row `index`, if the model's vocabulary of that many tokens has them all.

    Raises:
        GenerationError: it does not; backends would read past the embedding table, or clip in silence.
    """
    outside = [number for number in row if not 0 <= number < vocabulary]
    if outside:
        raise GenerationError(
            f"Prompt {index} holds token {outside[0]}, but the model's vocabulary has ids from 0 to {vocabulary - 1}."
        )
    return row


def _read_ids(prompt: Mapping[str, Any], model: Any) -> Prompts:
    others = getattr(model, "prompt_inputs", ())
    unknown = sorted(set(prompt) - {"input_ids", "attention_mask", *others})
    if "input_ids" not in prompt or unknown:
        raise GenerationError(f"A prompt is {EXPECTED}; got a dict with {', '.join(map(str, prompt)) or 'nothing'}.")
    ids = _integers(prompt["input_ids"], "input_ids")
    mask = prompt.get("attention_mask")
    mask = np.ones_like(ids) if mask is None else _integers(mask, "attention_mask")
    if mask.shape != ids.shape:
        raise GenerationError(f"attention_mask has shape {mask.shape}, expected that of input_ids, {ids.shape}.")
    if not np.isin(mask, (0, 1)).all():
        raise GenerationError("attention_mask holds other values than 0 (padding) and 1 (text).")
    rows = [row[text.astype(bool)].tolist() for row, text in zip(ids, mask, strict=True)]
    for index, row in enumerate(rows):
        if not row:
            raise GenerationError(f"Row {index} of input_ids is empty or all padding: it needs at least one token.")
        check_ids(row, index, known_ids(model))
    given = {name: prompt[name] for name in others if prompt.get(name) is not None}
    return Prompts(rows, "ids", ids, model.check_prompt_inputs(rows, ids, given) if given else {})


def _integers(values: Any, name: str) -> np.ndarray:
    """(B, T) int64 from a list, array or tensor of any library, (B, T) or (T,)."""
    detached = getattr(values, "detach", lambda: values)()
    on_host = getattr(detached, "cpu", lambda: detached)()
    try:
        array = np.asarray(on_host)
    except ValueError:
        raise GenerationError(f"{name} has rows of different lengths: pad them and pass attention_mask.") from None
    if array.dtype.kind not in "iub" or array.ndim not in (1, 2):
        raise GenerationError(
            f"{name} has shape {array.shape} and dtype {array.dtype}, expected integers of shape (batch, length)."
        )
    return np.atleast_2d(array).astype(np.int64)
