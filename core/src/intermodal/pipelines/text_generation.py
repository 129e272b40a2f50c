"""Text generation: the continuation of a prompt, or the answer to a conversation."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from intermodal.errors import InputError
from intermodal.pipelines.base import Pipeline, Row, text_of, tokenizer_keywords
from intermodal.pipelines.generating import GENERATION, answered, continuations, continues, is_chat, split_generation


@dataclass(frozen=True, kw_only=True)
class Options:
    """Keywords of a call that are not those of `generate`.

    Attributes:
        return_full_text: results begin with the prompt; for conversations, with its messages.
        return_tensors: results are the ids of prompt and continuation.
        prefix: a text to be put before each prompt, which is not part of the result.
        stop_sequence: texts that end a continuation, and are part of it.
        add_special_tokens, truncation: of a prompt, as the tokenizer takes them.
        tokenizer_encode_kwargs: more keywords of the tokenizer.
        continue_final_message: go on with the last message of a conversation. None: where it is the assistant's.
        tools, documents: for the chat template.
        clean_up_tokenization_spaces, skip_special_tokens: of the continuation, as `tokenizer.decode` takes them.
        generation: keywords of `generate`.
    """

    return_full_text: bool | None = None
    return_text: bool | None = None
    return_tensors: bool | None = None
    prefix: str = ""
    stop_sequence: str | Sequence[str] | None = None
    add_special_tokens: bool | None = None
    truncation: Any = None
    tokenizer_encode_kwargs: Mapping[str, Any] | None = None
    continue_final_message: bool | None = None
    tools: Sequence[Mapping[str, Any]] | None = None
    documents: Sequence[Mapping[str, Any]] | None = None
    clean_up_tokenization_spaces: bool | None = None
    skip_special_tokens: bool = True
    generation: Mapping[str, Any]

    def __post_init__(self) -> None:
        if self.return_tensors and (self.return_text or self.return_full_text is not None):
            raise InputError("return_tensors gives ids, so return_text and return_full_text do not go with it.")
        if self.return_text is not None and self.return_full_text is not None:
            raise InputError("return_text and return_full_text are both given: leave one of them out.")
        tokenizer_keywords(self.tokenizer_encode_kwargs, "tokenizer_encode_kwargs")

    def keywords(self) -> dict[str, Any]:
        """Those of the tokenizer."""
        given = {"add_special_tokens": self.add_special_tokens, "truncation": self.truncation}
        if self.truncation and "max_length" in self.generation:  # it bounds the prompt too, as in transformers
            given["max_length"] = self.generation["max_length"]
        return {k: v for k, v in given.items() if v is not None} | dict(self.tokenizer_encode_kwargs or {})


class TextGenerationPipeline(Pipeline):
    """Called with a prompt, or with a conversation `[{"role": …, "content": …}, …]`; or with lists of them.

    A result is a list of one `{"generated_text"}`: the prompt with its continuation, of a conversation its messages
    with the answer; with `return_tensors` of one `{"generated_token_ids"}`. Settings that no keyword gives are those of
    the checkpoint: transformers draws at a temperature of 0.7 where a checkpoint does not say, which is not done here.
    """

    task = "text-generation"
    model_task = "text-generation"
    options_class = Options

    def is_single(self, inputs: Any) -> bool:
        """Whether this is one prompt or conversation."""
        return is_chat(inputs) or super().is_single(inputs)

    def read_options(self, given: Mapping[str, Any]) -> Options:
        """See `Pipeline.read_options`."""
        others, generation = split_generation({**self.options, **given})
        self.check_option_names(others)
        return Options(**others, generation=generation)

    @classmethod
    def option_names(cls) -> set[str]:
        """See `Pipeline.option_names`."""
        return {item.name for item in fields(Options)} - {"generation"} | GENERATION

    def prepare(self, item: Any, options: Options) -> Iterable[Row]:
        """One row; noted is the prompt."""
        if is_chat(item):
            goes_on = continues(item, options.continue_final_message)
            ids = self.tokenizer.apply_chat_template(
                item,
                options.tools,
                options.documents,
                add_generation_prompt=not goes_on,
                continue_final_message=goes_on,
                return_dict=False,
                **{k: v for k, v in options.keywords().items() if k != "add_special_tokens"},
            )
        else:
            ids = self.tokenizer(options.prefix + text_of(item, self.task), **options.keywords())["input_ids"]
        yield Row({"input_ids": ids}, item)

    def compute(self, rows: Sequence[Row], options: Options) -> Sequence[Any]:
        """Ids of the continuation of each row."""
        prompts = [row.inputs["input_ids"] for row in rows]
        return continuations(self.model, prompts, options.generation, options.stop_sequence)

    def finish(self, parts: Sequence[tuple[Row, Any]], options: Options) -> Any:
        """The prompt with its continuation."""
        ((row, ids),) = parts
        if options.return_tensors:
            return [{"generated_token_ids": [*row.inputs["input_ids"], *ids]}]
        text = self.tokenizer.decode(
            list(ids),
            skip_special_tokens=options.skip_special_tokens,
            clean_up_tokenization_spaces=options.clean_up_tokenization_spaces,
        )
        if options.return_full_text is not False:
            goes_on = is_chat(row.about) and continues(row.about, options.continue_final_message)
            text = row.about + text if isinstance(row.about, str) else answered(row.about, text, goes_on=goes_on)
        return [{"generated_text": text}]
