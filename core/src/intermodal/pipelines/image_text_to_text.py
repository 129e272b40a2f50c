"""Text from images and text: the continuation of a prompt with images, or the answer to a conversation with them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from intermodal.errors import InputError
from intermodal.pipelines.base import Pipeline, Row
from intermodal.pipelines.generating import GENERATION, answered, continuations, continues, is_chat, split_generation

_PROCESSING = ("add_special_tokens", "images_kwargs")


@dataclass(frozen=True, kw_only=True)
class Options:
    """Keywords of a call that are not those of `generate`.

    Attributes:
        return_full_text: results begin with the prompt; for conversations, with its messages.
        return_tensors: results are the ids of prompt and continuation.
        stop_sequence: texts that end a continuation, and are part of it.
        continue_final_message: go on with the last message of a conversation. None: where it is the assistant's.
        tools: for the chat template.
        clean_up_tokenization_spaces, skip_special_tokens: of the text, as `tokenizer.decode` takes them.
        processor_kwargs: keywords of the processor: `add_special_tokens` and `images_kwargs`.
        generate_kwargs: keywords of `generate`, which may stand among those of the call too.
        generation: those that do.
    """

    return_full_text: bool | None = None
    return_tensors: bool | None = None
    stop_sequence: str | Sequence[str] | None = None
    continue_final_message: bool | None = None
    tools: Sequence[Mapping[str, Any]] | None = None
    clean_up_tokenization_spaces: bool | None = None
    skip_special_tokens: bool = True
    processor_kwargs: Mapping[str, Any] | None = None
    generate_kwargs: Mapping[str, Any] | None = None
    generation: Mapping[str, Any]

    def __post_init__(self) -> None:
        if self.return_tensors and self.return_full_text is not None:
            raise InputError("return_tensors gives ids, so return_full_text does not go with it: leave one out.")
        unknown = [name for name in self.processor_kwargs or {} if name not in _PROCESSING]
        if unknown:
            raise InputError(f"processor_kwargs has {', '.join(unknown)}; it may have: {', '.join(_PROCESSING)}.")
        twice = [name for name in self.generate_kwargs or {} if name in self.generation]
        if twice:
            raise InputError(f"{', '.join(twice)} is given twice, once in generate_kwargs: leave one out.")


@dataclass(frozen=True)
class _Seen:
    """What is known of a row: the prompt as given, and its images' pixels, (views, channels, height, width)."""

    prompt: Any
    pixels: np.ndarray | None


class ImageTextToTextPipeline(Pipeline):
    """Called with `images` and `text`, with a conversation whose messages hold images, or with lists of these.

    A result is a list of `{"input_text", "generated_text"}`, one for each text: the prompt with its continuation, of a
    conversation its messages with the answer. With `return_tensors` it holds `generated_token_ids` instead.
    """

    task = "image-text-to-text"
    model_task = "image-text-to-text"
    options_class = Options

    def __call__(
        self, images: Any = None, text: Any = None, *, batch_size: int | None = None, **options: Any
    ) -> list[Any]:
        """The result of one input, or a list of results.

        Args:
            images: an image, a list of them, or for several texts a list with a list for each. An image is a path, a
                PIL image or an array. Alone: conversations, `{"images": …, "text": …}`, or an iterable of inputs.
            text: with a placeholder where each image goes; or a conversation, or a list of texts or conversations.
            batch_size: rows that are computed at a time.
            options: see `Options`; settings of `generate` are taken too.

        Raises:
            InputError: there is no text, images do not match it or cannot be read, or a keyword is unknown.
        """
        given = text if images is None else images
        if given is None:
            raise InputError(f"{self.task} needs a text: pass text=…, or a conversation.")
        if images is not None and text is not None:
            chats = [text] if is_chat(text) else text if isinstance(text, list | tuple) else []
            if any(is_chat(chat) for chat in chats):
                raise InputError(
                    "In a conversation images stand in the messages' content, "
                    '{"type": "image", "image": …}, and not in images=….'
                )
            given = {"images": images, "text": text}
        return super().__call__(given, batch_size=batch_size, **options)

    def is_single(self, inputs: Any) -> bool:
        """Whether this is one input."""
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
        """One row for each text."""
        asked = dict(options.processor_kwargs or {})
        if is_chat(item):
            asked.pop("add_special_tokens", None)  # the chat template writes them, as in transformers
            goes_on = continues(item, options.continue_final_message)
            encoded = self.processor.apply_chat_template(
                item, options.tools, add_generation_prompt=not goes_on, continue_final_message=goes_on, **asked
            )
            yield self._row(item, encoded)
            return
        text, images = _parts(item)
        if isinstance(text, str):
            yield self._row(text, self.processor(text, images, **asked))
            return
        of_each = [None] * len(text) if images is None else images
        if not isinstance(of_each, list | tuple) or len(of_each) != len(text):
            raise InputError(f"For {len(text)} texts, images is a list of {len(text)} entries, one for each text.")
        for line, own in zip(text, of_each, strict=True):
            yield self._row(line, self.processor(line, own, **asked))

    def compute(self, rows: Sequence[Row], options: Options) -> Sequence[Any]:
        """Ids of the continuation of each row."""
        pixels = [row.about.pixels for row in rows if row.about.pixels is not None]
        return continuations(
            self.model,
            [row.inputs["input_ids"] for row in rows],
            {**options.generation, **(options.generate_kwargs or {})},
            options.stop_sequence,
            {"pixel_values": np.concatenate(pixels)} if pixels else None,
        )

    def finish(self, parts: Sequence[tuple[Row, Any]], options: Options) -> Any:
        """A record for each text."""
        return [self._record(row, ids, options) for row, ids in parts]

    def _record(self, row: Row, ids: Sequence[int], options: Options) -> dict[str, Any]:
        prompt, before = row.about.prompt, list(row.inputs["input_ids"])
        if options.return_tensors:
            return {"input_text": prompt, "generated_token_ids": [*before, *ids]}
        text = self._written(before, list(ids), options)
        if options.return_full_text is not False:
            if is_chat(prompt):
                text = answered(prompt, text, goes_on=continues(prompt, options.continue_final_message))
            else:
                text = prompt + text
        return {"input_text": prompt, "generated_text": text}

    def _written(self, before: list[int], ids: list[int], options: Options) -> str:
        """The text of the continuation. A space between it and the prompt belongs to it, so both are decoded."""

        def decode(tokens: list[int]) -> str:
            return self.tokenizer.decode(
                tokens,
                skip_special_tokens=options.skip_special_tokens,
                clean_up_tokenization_spaces=options.clean_up_tokenization_spaces,
            )

        whole, prompt = decode([*before, *ids]), decode(before)
        return whole.removeprefix(prompt) if whole.startswith(prompt) else decode(ids)

    def _row(self, prompt: Any, encoded: Mapping[str, Any]) -> Row:
        return Row({"input_ids": encoded["input_ids"][0]}, _Seen(prompt, encoded.get("pixel_values")))


def _parts(item: Any) -> tuple[Any, Any]:
    """Text and images of an input that is no conversation."""
    if isinstance(item, str):
        return item, None
    if isinstance(item, Mapping) and set(item) <= {"images", "text"}:
        text = item.get("text")
        if isinstance(text, str) or (isinstance(text, list | tuple) and all(isinstance(line, str) for line in text)):
            return text, item.get("images")
    raise InputError(
        'image-text-to-text takes a text, {"images": …, "text": …} or a conversation, or lists of these; got a '
        f"{type(item).__name__}{' with ' + ', '.join(map(str, item)) if isinstance(item, Mapping) else ''}."
    )
