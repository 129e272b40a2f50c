"""Fill mask: the tokens that may stand behind a mask, and how likely each is."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from intermodal.errors import InputError, TokenizerError
from intermodal.pipelines.base import Pipeline, Row, softmax, text_of, tokenizer_keywords


@dataclass(frozen=True)
class Options:
    """Keywords of a call.

    Attributes:
        top_k: how many tokens to return for each mask.
        targets: the only tokens to choose from. One that is not in the vocabulary stands for its first token.
        tokenizer_kwargs: keywords of the tokenizer, such as `{"truncation": True}`.
    """

    top_k: int = 5
    targets: str | Sequence[str] | None = None
    tokenizer_kwargs: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        if type(self.top_k) is not int or self.top_k < 1:
            raise InputError(f"top_k={self.top_k!r}: expected a positive integer.")
        tokenizer_keywords(self.tokenizer_kwargs, "tokenizer_kwargs")


class FillMaskPipeline(Pipeline):
    """Called with a text that holds `tokenizer.mask_token` at least once.

    A result is a list of `{"score", "token", "token_str", "sequence"}`, likeliest first; of a text with several masks a
    list of such lists, where each mask is filled by itself. As in transformers, a list of one text gives one result.
    """

    task = "fill-mask"
    model_task = "fill-mask"
    options_class = Options

    def __call__(self, inputs: Any, **options: Any) -> Any:
        """See `Pipeline.__call__`."""
        results = super().__call__(inputs, **options)
        return results[0] if isinstance(inputs, list) and len(inputs) == 1 else results

    def prepare(self, item: Any, options: Options) -> Iterable[Row]:
        """One row; noted are the masks' places."""
        mask = self.tokenizer.mask_token_id
        if mask is None:
            raise TokenizerError('The tokenizer has no mask token: set it, tokenizer.mask_token = "…".')
        encoded = self.tokenizer(
            text_of(item, self.task), return_attention_mask=True, **(options.tokenizer_kwargs or {})
        )
        places = [index for index, token in enumerate(encoded["input_ids"]) if token == mask]
        if not places:
            raise InputError(
                f"There is no {self.tokenizer.mask_token} in {item[:100]!r}: put it where a word is wanted."
            )
        yield self.row(encoded, about=places)

    def finish(self, parts: Sequence[tuple[Row, Any]], options: Options) -> Any:
        """The likeliest tokens of each mask."""
        ((row, outputs),) = parts
        targets = self._targets(options.targets)
        filled = [
            self._fill(row, place, softmax(outputs["logits"][place]), targets, options.top_k) for place in row.about
        ]
        return filled[0] if len(filled) == 1 else filled

    def _fill(
        self, row: Row, place: int, probabilities: np.ndarray, targets: np.ndarray | None, top_k: int
    ) -> list[dict[str, Any]]:
        tokens = np.arange(len(probabilities)) if targets is None else targets
        likeliest = tokens[np.argsort(-probabilities[tokens], kind="stable")[:top_k]].tolist()
        alone = len(row.about) == 1
        choices = []
        for token in likeliest:
            ids = [token if index == place else each for index, each in enumerate(row.inputs["input_ids"])]
            ids = [each for each in ids if each != self.tokenizer.pad_token_id]
            choices.append(
                {
                    "score": float(probabilities[token]),
                    "token": token,
                    "token_str": self.tokenizer.decode([token]),
                    # The other masks are special tokens too, and without them the text would be hard to read.
                    "sequence": self.tokenizer.decode(ids, skip_special_tokens=alone),
                }
            )
        return choices

    def _targets(self, targets: str | Sequence[str] | None) -> np.ndarray | None:
        """Ids to choose from, each once, or None for all."""
        if targets is None:
            return None
        vocabulary, chosen = self.tokenizer.get_vocab(), set()
        for target in [targets] if isinstance(targets, str) else targets:
            ids = [vocabulary[target]] if target in vocabulary else self._first_token(target)
            chosen.update(ids)
        if not chosen:
            raise InputError("targets: none of them is in the vocabulary, and there has to be one.")
        return np.array(sorted(chosen))

    def _first_token(self, target: str) -> list[int]:
        ids = self.tokenizer.encode(target, add_special_tokens=False)[:1]
        stands = f"{self.tokenizer.convert_ids_to_tokens(ids[0])!r} stands for it" if ids else "it is left out"
        warnings.warn(f"targets: {target!r} is not in the vocabulary; {stands}.", stacklevel=2)
        return ids
