"""The tokenizer of a checkpoint: text to ids and back, padding, truncation, and chat."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from intermodal.errors import TokenizerError
from intermodal.processing.build import guarded
from intermodal.processing.cleanup import clean_up_spaces
from intermodal.processing.encoding import (
    as_arrays,
    as_batch,
    as_rows,
    checked_length,
    pad_rows,
    padded_length,
    truncation_strategy,
)
from intermodal.processing.vocabulary import TokenizerParts, Vocabulary

__all__ = ["Tokenizer", "TokenizerParts"]

# Arguments of transformers' apply_chat_template that are not meant for the template.
_FOR_THE_CALL = frozenset(("padding", "truncation", "max_length", "return_tensors"))
_NOT_FOR_TEMPLATES = frozenset(("sanitize_control_tokens", "return_assistant_tokens_mask", "tokenizer_kwargs"))

Ids = list[int]
Encoded = dict[str, Any]


class Tokenizer(Vocabulary):
    """Turns text into ids and ids into text, with the arguments and results that transformers' tokenizers have.

    Example:
        tokenizer = intermodal.load("hf://org/name").tokenizer
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
        text_pair: str | Sequence[str] | None = None,
        *,
        add_special_tokens: bool = True,
        padding: bool | Literal["longest", "max_length", "do_not_pad"] = False,
        truncation: bool | Literal["longest_first", "only_first", "only_second", "do_not_truncate"] = False,
        max_length: int | None = None,
        padding_side: Literal["left", "right"] | None = None,
        pad_to_multiple_of: int | None = None,
        return_offsets_mapping: bool = False,
        return_token_type_ids: bool | None = None,
        return_tensors: Literal["np"] | None = None,
    ) -> Encoded:
        """Encode a text, a list of texts, or a list of (text, text) pairs.

        Args:
            text: a string, or a list of strings or pairs.
            text_pair: the second text of each.
            add_special_tokens: put in what the model expects around a text (bos, `[CLS]` … `[SEP]`).
            padding: True or `"longest"` pads to the longest row, `"max_length"` to `max_length`.
            truncation: True cuts to `max_length`, tokens of the longer text of a pair first.
            max_length: in tokens, special ones included; the files' own limit where None.
            padding_side: where to pad; the files' own choice where None.
            pad_to_multiple_of: round the padded length up to a multiple of this.
            return_offsets_mapping: also return where in the text each token is, as (start, end) in characters.
            return_token_type_ids: whether to return which text of a pair a token is of; see `model_input_names`.
            return_tensors: `"np"` for int32 arrays of shape (batch, length) instead of lists.

        Returns:
            `input_ids`, `attention_mask`, and what was asked for; for one text a list, for several a list of lists.

        Raises:
            TokenizerError: an argument is unknown or does not fit, or padding is asked for without a pad token.
        """
        batch, single = as_batch(text, text_pair)
        limit = self.model_max_length if max_length is None else checked_length(max_length)
        encodings = self._encode(batch, add_special_tokens, truncation_strategy(truncation), limit)
        names = self.model_input_names
        rows: dict[str, list[list[Any]]] = {"input_ids": [encoding.ids for encoding in encodings]}
        if "token_type_ids" in names if return_token_type_ids is None else return_token_type_ids:
            rows["token_type_ids"] = [encoding.type_ids for encoding in encodings]
        rows["attention_mask"] = [encoding.attention_mask for encoding in encodings]
        if return_offsets_mapping:
            rows["offset_mapping"] = [encoding.offsets for encoding in encodings]
        length = padded_length(rows["input_ids"], padding, limit, pad_to_multiple_of)
        if length is not None:
            pad_rows(rows, length, self._pad_id(), padding_side or self.padding_side)
        if return_tensors is not None:
            return as_arrays(rows, return_tensors)
        return {name: values[0] for name, values in rows.items()} if single else dict(rows)

    def encode(
        self, text: str, text_pair: str | None = None, *, add_special_tokens: bool = True, **arguments: Any
    ) -> Ids:
        """Ids of one text; further arguments as in `__call__`."""
        return self(text, text_pair, add_special_tokens=add_special_tokens, **arguments)["input_ids"]

    def _encode(self, batch: list[Any], add_special_tokens: bool, strategy: str | None, limit: int | None) -> list[Any]:
        with self._lock:
            if strategy is not None and limit is not None and batch:
                special = self.backend.num_special_tokens_to_add(not isinstance(batch[0], str))
                if add_special_tokens and limit < special:
                    raise TokenizerError(f"max_length={limit} has no room for the {special} special tokens.")
                side = self.config.get("truncation_side") or "right"
                self.backend.enable_truncation(limit, strategy=strategy, direction=side)
            try:
                with guarded(f"The tokenizer{self._of_origin}"):
                    return self.backend.encode_batch(batch, add_special_tokens=add_special_tokens)
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
        self, ids: Any, skip_special_tokens: bool = True, clean_up_tokenization_spaces: bool | None = None
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

    def batch_decode(self, batch: Any, skip_special_tokens: bool = True, **arguments: Any) -> list[str]:
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
        messages: Any,
        tools: Sequence[Mapping[str, Any]] | None = None,
        documents: Sequence[Mapping[str, Any]] | None = None,
        *,
        add_generation_prompt: bool = True,
        continue_final_message: bool = False,
        tokenize: bool = True,
        chat_template: str | None = None,
        return_dict: bool = False,
        **variables: Any,
    ) -> Any:
        """Render a conversation with the checkpoint's template, as ids or as text; a list of them for a list.

        Templates write the bos token themselves, so none is added when the text is encoded. A special token that is
        spelled out in a message becomes that token, as in transformers: remove such text from what strangers wrote.

        Args:
            messages: `[{"role": "user", "content": "…"}, …]`.
            tools: JSON schemas of functions the model may call.
            documents: dicts with `title` and `text`.
            add_generation_prompt: end with the header of the assistant's next message.
            continue_final_message: leave the last message open instead.
            tokenize: return ids rather than text.
            chat_template: Jinja source, or the name of one of `chat_templates`.
            return_dict: return what a call of the tokenizer does, rather than its `input_ids`.
            variables: `padding`, `truncation`, `max_length` and `return_tensors` as in a call of the tokenizer; any
                other is a name for the template (`date_string=…`, `enable_thinking=…`).

        Raises:
            TokenizerError: there is no template, or messages or arguments are malformed.
            ChatTemplateError: the template is malformed, refuses the messages, does not end or tries to escape.
        """
        from intermodal.processing.chat import render_chat, select_template
        from intermodal.processing.messages import is_batch

        for name in _NOT_FOR_TEMPLATES & variables.keys():
            if variables.pop(name):
                raise TokenizerError(f"apply_chat_template does not support {name}.")
        call = {name: variables.pop(name) for name in _FOR_THE_CALL & variables.keys()}
        batch = is_batch(messages)
        template = select_template(self.chat_templates, chat_template, with_tools=tools is not None, origin=self.origin)
        texts = [
            render_chat(
                template,
                chat,
                tools=tools,
                documents=documents,
                add_generation_prompt=add_generation_prompt,
                continue_final_message=continue_final_message,
                special_tokens=self.special_tokens,
                variables=variables,
            )
            for chat in (messages if batch else [messages])
        ]
        if not tokenize:
            return texts if batch else texts[0]
        encoded = self(texts if batch else texts[0], add_special_tokens=False, **call)
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
