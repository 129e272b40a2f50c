"""What users pass as a prompt, brought to one form: a list of token ids for each row."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from intermodal.errors import GenerationError, TokenizerError

EXPECTED = 'a string, a list of strings, {"text": …, "images": …}, or {"input_ids": …, "attention_mask": …}'


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
    if isinstance(prompt, Mapping) and "text" not in prompt:
        return _read_ids(prompt, model)
    if getattr(model, "processor", None) is not None or not _is_text(prompt):
        from intermodal.generation.image_prompts import read_with_images

        return read_with_images(prompt, model, bos)
    if isinstance(prompt, str):
        return Prompts(encode([prompt], model, bos), "text")
    return Prompts(encode(list(prompt), model, bos), "texts")


def _is_text(prompt: Any) -> bool:
    if isinstance(prompt, str):
        return True
    if isinstance(prompt, list | tuple) and all(isinstance(text, str) for text in prompt):
        return True
    if isinstance(prompt, Mapping) or (isinstance(prompt, list | tuple) and isinstance(prompt[0], Mapping)):
        return False
    raise GenerationError(f"A prompt is {EXPECTED}; got {type(prompt).__name__}.")


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
        rows[index] = check_ids(row if bos is None else row or [bos], index, model.config.vocab_size)
    return rows


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
    vocabulary, others = model.config.vocab_size, getattr(model, "prompt_inputs", ())
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
        check_ids(row, index, vocabulary)
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
