"""The tokenizer of a checkpoint: text to ids and back, padding, truncation, and chat."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from intermodal.errors import TokenizerError
from intermodal.processing.build import guarded
from intermodal.processing.cleanup import clean_up_spaces
from intermodal.processing.encoded import Encoded
from intermodal.processing.encoding import as_rows, as_tensors, check_side, pad_rows, padded_length
from intermodal.processing.texts import as_batch, checked_length, truncation_strategy
from intermodal.processing.vocabulary import TokenizerParts, Vocabulary

__all__ = ["Tokenizer", "TokenizerParts"]

Ids = list[int]
Padding = bool | Literal["longest", "max_length", "do_not_pad"]
Truncation = bool | Literal["longest_first", "only_first", "only_second", "do_not_truncate"]
Kind = Literal["np", "pt", "jax", "tf"]


class Tokenizer(Vocabulary):
    """Turns text into ids and ids into text, with the arguments and results that transformers' tokenizers have.

    Example:
        tokenizer = intermodal.AutoTokenizer.from_pretrained("org/name")  # or intermodal.load(…).tokenizer
        batch = tokenizer(["one", "another one"], padding=True, return_tensors="np")
        tokenizer.decode(batch["input_ids"][0])

    Methods may be called from several threads.
    """

    def __init__(self, parts: TokenizerParts) -> None:
        super().__init__(parts)
        # Truncation is a state of the backend, so calls that truncate and calls that do not take turns.
        self._lock = threading.Lock()
        # What the file itself asks for is applied by no caller unless they say so; it is kept for saving.
        self._saved_truncation, self._saved_padding = self.backend.truncation, self.backend.padding
        self.backend.no_truncation()
        self.backend.no_padding()
        if self._saved_padding:
            self.special_tokens.setdefault("pad_token", self._saved_padding["pad_token"])

    # --- text to ids -------------------------------------------------------------------------------------------------

    def __call__(
        self,
        text: str | Sequence[Any],
        text_pair: str | Sequence[Any] | None = None,
        *,
        add_special_tokens: bool = True,
        padding: Padding = False,
        truncation: Truncation = False,
        max_length: int | None = None,
        stride: int = 0,
        is_split_into_words: bool = False,
        padding_side: Literal["left", "right"] | None = None,
        pad_to_multiple_of: int | None = None,
        return_tensors: Kind | None = None,
        return_token_type_ids: bool | None = None,
        return_attention_mask: bool | None = None,
        return_overflowing_tokens: bool = False,
        return_special_tokens_mask: bool = False,
        return_offsets_mapping: bool = False,
        return_length: bool = False,
    ) -> Encoded:
        """Encode a text, a list of texts, or a list of (text, text) pairs.

        Args:
            text: a string, or a list of strings or pairs.
            text_pair: the second text of each.
            add_special_tokens: put in what the model expects around a text (bos, `[CLS]` … `[SEP]`).
            padding: True or `"longest"` pads to the longest row, `"max_length"` to `max_length`.
            truncation: True cuts to `max_length`, tokens of the longer text of a pair first.
            max_length: in tokens, special ones included; the files' own limit where None.
            stride: how many tokens an overflowing row repeats of the one before.
            is_split_into_words: a text is a list of words instead of a string.
            padding_side: where to pad; the files' own choice where None.
            pad_to_multiple_of: round the padded length up to a multiple of this.
            return_tensors: `"np"`, `"jax"` or `"tf"` for int32 of shape (batch, length) instead of lists, `"pt"` for
                int64.
            return_token_type_ids: whether to return which text of a pair a token is of; see `model_input_names`.
            return_attention_mask: whether to return 1 for text and 0 for padding; likewise.
            return_overflowing_tokens: what truncation cuts off becomes rows of its own, and
                `overflow_to_sample_mapping` says of which text each row is.
            return_special_tokens_mask: also return 1 for special tokens, 0 for others.
            return_offsets_mapping: also return where in the text each token is, as (start, end) in characters.
            return_length: also return how many tokens a row has.

        Returns:
            `input_ids` and what was asked for; for one text a list, for several a list of lists.

        Raises:
            TokenizerError: an argument is unknown or does not fit, or padding is asked for without a pad token.
        """
        batch, single = as_batch(text, text_pair, is_split_into_words)
        limit = self.model_max_length if max_length is None else checked_length(max_length)
        strategy = truncation_strategy(truncation)
        encodings = self._encode(batch, add_special_tokens, strategy, limit, stride, is_split_into_words)
        samples = list(range(len(encodings)))
        if return_overflowing_tokens:
            samples = [i for i, encoding in enumerate(encodings) for _ in range(1 + len(encoding.overflowing))]
            encodings = [row for encoding in encodings for row in (encoding, *encoding.overflowing)]
        length = padded_length([encoding.ids for encoding in encodings], padding, limit, pad_to_multiple_of)
        if length is not None:
            side = check_side(padding_side or self.padding_side)
            for encoding in encodings:
                encoding.pad(length, direction=side, pad_id=self._pad_id(), pad_token=self.pad_token)
        names = self.model_input_names
        rows: dict[str, list[Any]] = {"input_ids": [encoding.ids for encoding in encodings]}
        if "token_type_ids" in names if return_token_type_ids is None else return_token_type_ids:
            rows["token_type_ids"] = [encoding.type_ids for encoding in encodings]
        if "attention_mask" in names if return_attention_mask is None else return_attention_mask:
            rows["attention_mask"] = [encoding.attention_mask for encoding in encodings]
        if return_special_tokens_mask:
            rows["special_tokens_mask"] = [encoding.special_tokens_mask for encoding in encodings]
        if return_offsets_mapping:
            rows["offset_mapping"] = [encoding.offsets for encoding in encodings]
        if return_length:
            rows["length"] = [len(encoding.ids) for encoding in encodings]
        if return_overflowing_tokens:
            rows["overflow_to_sample_mapping"] = samples
        if return_tensors is not None:
            return Encoded(as_tensors(rows, return_tensors), encodings)
        if single and not return_overflowing_tokens:
            return Encoded({k: v[0] if isinstance(v[0], list) else v for k, v in rows.items()}, encodings)
        return Encoded(rows, encodings)

    def encode(
        self, text: str, text_pair: str | None = None, *, add_special_tokens: bool = True, **arguments: Any
    ) -> Ids:
        """Ids of one text; further arguments as in `__call__`."""
        return self(text, text_pair, add_special_tokens=add_special_tokens, **arguments)["input_ids"]

    def tokenize(
        self, text: str, pair: str | None = None, *, add_special_tokens: bool = False, **arguments: Any
    ) -> list[str]:
        """Tokens of one text, as the vocabulary spells them; further arguments as in `__call__`."""
        return self(text, pair, add_special_tokens=add_special_tokens, **arguments).tokens()

    def pad(
        self,
        encoded: Mapping[str, Any] | Sequence[Mapping[str, Any]],
        *,
        padding: Padding = True,
        max_length: int | None = None,
        pad_to_multiple_of: int | None = None,
        padding_side: Literal["left", "right"] | None = None,
        return_tensors: Kind | None = None,
    ) -> Encoded:
        """Pad rows that were encoded before, as a loader of batches does; arguments as in `__call__`.

        Args:
            encoded: rows by name, or a list of dicts of one row each. Names that a tokenizer does not give, such as
                labels, are passed on as they are.
        """
        if not isinstance(encoded, Mapping):
            encoded = {name: [row[name] for row in encoded] for name in encoded[0]} if encoded else {"input_ids": []}
        rows = {name: list(values) for name, values in encoded.items()}
        rows["input_ids"] = [as_rows(row) for row in rows["input_ids"]]
        if "attention_mask" in self.model_input_names:
            rows.setdefault("attention_mask", [[1] * len(row) for row in rows["input_ids"]])
        limit = self.model_max_length if max_length is None else checked_length(max_length)
        length = padded_length(rows["input_ids"], padding, limit, pad_to_multiple_of)
        if length is not None:
            pad_rows(rows, length, self._pad_id(), check_side(padding_side or self.padding_side))
        return Encoded(rows if return_tensors is None else as_tensors(rows, return_tensors))

    def _encode(
        self, batch: list[Any], special: bool, strategy: str | None, limit: int | None, stride: int, split: bool
    ) -> list[Any]:
        with self._lock:
            if strategy is not None and limit is not None and batch:
                added = self.backend.num_special_tokens_to_add(isinstance(batch[0], tuple)) if special else 0
                if limit < added:
                    raise TokenizerError(f"max_length={limit} has no room for the {added} special tokens.")
                if not 0 <= stride < max(limit - added, 1):
                    raise TokenizerError(f"stride={stride}: expected fewer than the {limit - added} tokens of a row.")
                side = self.truncation_side
                self.backend.enable_truncation(limit, stride=stride, strategy=strategy, direction=side)
            try:
                with guarded(f"The tokenizer{self._of_origin}"):
                    return self.backend.encode_batch(batch, is_pretokenized=split, add_special_tokens=special)
            finally:
                self.backend.no_truncation()

    def _pad_id(self) -> int:
        if self.pad_token_id is None:
            raise TokenizerError(
                f"The tokenizer{self._of_origin} has no padding token. Choose one (it is masked, so any will do): "
                "tokenizer.pad_token = tokenizer.eos_token"
            )
        return self.pad_token_id

    # --- ids to text -------------------------------------------------------------------------------------------------

    def decode(
        self, ids: Any, skip_special_tokens: bool = False, clean_up_tokenization_spaces: bool | None = None
    ) -> Any:
        """Text of ids: an int, a list, or an array or tensor of any library; a list of texts for a batch.

        Args:
            ids: of shape (), (length,) or (batch, length).
            skip_special_tokens: leave out special tokens.
            clean_up_tokenization_spaces: remove spaces before punctuation; the files' own choice where None. It is
                never done to BPE, whose tokens hold the spaces that were in the text.

        Raises:
            TokenizerError: an id is negative.
        """
        rows = as_rows(ids)
        if isinstance(rows, list) and rows and isinstance(rows[0], list):
            return [self.decode(row, skip_special_tokens, clean_up_tokenization_spaces) for row in rows]
        flat = [rows] if isinstance(rows, int) else rows
        if min(flat, default=0) < 0:
            raise TokenizerError(
                f"Only ids from 0 on can be decoded, got {min(flat)}: leave out padding and ignored labels."
            )
        with guarded(f"The decoder{self._of_origin}"):
            text = self.backend.decode(flat, skip_special_tokens=skip_special_tokens)
        clean = self.cleans_up if clean_up_tokenization_spaces is None else clean_up_tokenization_spaces
        return clean_up_spaces(text) if clean and self._may_clean_up else text

    def batch_decode(self, batch: Any, skip_special_tokens: bool = False, **arguments: Any) -> list[str]:
        """Text of each row."""
        return [self.decode(row, skip_special_tokens, **arguments) for row in batch]

    @property
    def cleans_up(self) -> bool:
        """Whether `decode` removes spaces before punctuation unless a call says otherwise."""
        return bool(self.config.get("clean_up_tokenization_spaces")) and self._may_clean_up

    @property
    def _may_clean_up(self) -> bool:
        forced = self.config.get("clean_up_tokenization_spaces_for_bpe_even_though_it_will_corrupt_output")
        return bool(forced) or type(self.backend.model).__name__ != "BPE"

    # --- chat --------------------------------------------------------------------------------------------------------

    def apply_chat_template(
        self,
        conversation: Any,
        tools: Sequence[Mapping[str, Any]] | None = None,
        documents: Sequence[Mapping[str, Any]] | None = None,
        chat_template: str | None = None,
        add_generation_prompt: bool = False,
        continue_final_message: bool = False,
        tokenize: bool = True,
        *,
        return_dict: bool = True,
        **variables: Any,
    ) -> Any:
        """Render a conversation with the checkpoint's template, as ids or as text; a list of them for a list.

        Templates write the bos token themselves, so none is added when the text is encoded. A special token that is
        spelled out in a message becomes that token, as in transformers: remove such text from what strangers wrote.

        Args:
            conversation: `[{"role": "user", "content": "…"}, …]`, or a list of such conversations.
            tools: JSON schemas of functions the model may call.
            documents: dicts with `title` and `text`.
            chat_template: Jinja source, or the name of one of `chat_templates`.
            add_generation_prompt: end with the header of the assistant's next message.
            continue_final_message: leave the last message open instead.
            tokenize: return ids rather than text.
            return_dict: return what a call of the tokenizer does, rather than its `input_ids`.
            variables: `padding`, `truncation`, `max_length`, `padding_side` and `return_tensors` as in a call of the
                tokenizer; any other is a name for the template (`date_string=…`, `enable_thinking=…`).

        Raises:
            TokenizerError: there is no template, or messages or arguments are malformed.
            ChatTemplateError: the template is malformed, refuses the messages, does not end or tries to escape.
        """
        from intermodal.processing.chat import render_conversations, split_variables

        call, variables = split_variables(variables)
        texts = render_conversations(
            self,
            conversation,
            chat_template,
            tools=tools,
            documents=documents,
            add_generation_prompt=add_generation_prompt,
            continue_final_message=continue_final_message,
            variables=variables,
        )
        if not tokenize:
            return texts
        encoded = self(texts, add_special_tokens=False, **call)
        return encoded if return_dict else encoded["input_ids"]

    # --- writing it back ---------------------------------------------------------------------------------------------

    def save_pretrained(self, folder: str | Path) -> None:
        """Write tokenizer.json, tokenizer_config.json and the chat templates, as transformers reads them."""
        from intermodal.processing.save import save_tokenizer

        save_tokenizer(self, Path(folder))

    def to_json(self) -> str:
        """tokenizer.json, with the truncation and padding that it was read with."""
        with self._lock:
            try:
                if self._saved_truncation:
                    self.backend.enable_truncation(**self._saved_truncation)
                if self._saved_padding:
                    self.backend.enable_padding(**self._saved_padding)
                return self.backend.to_str(pretty=True)
            finally:
                self.backend.no_truncation()
                self.backend.no_padding()
