"""The processor of a checkpoint that takes images beside text: a tokenizer and an image processor, joined."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from intermodal.errors import InputError
from intermodal.processing.encoding import as_tensors, check_side, pad_rows
from intermodal.processing.image_processor import ImageProcessor
from intermodal.processing.messages import is_batch
from intermodal.processing.tokenizer import Tokenizer

FILE = "processor_config.json"
_FOR_THE_CALL = ("padding", "padding_side", "return_tensors", "images_kwargs")


class Processor(ABC):
    """Turns prompts with images into what a model is called with.

    In a text a placeholder stands where each image goes; it becomes the tokens that the image takes. A family
    subclasses it, says what those are, and names the subclass in `Family.processor`.

    Args:
        tokenizer: of the checkpoint.
        image_processor: of the checkpoint.
        config: the family's typed config.
        raw: processor_config.json.

    Attributes:
        images_kwargs: settings that go before the image processor's own, in every call; a family has its defaults.
        placeholder: text that stands for an image.
        token_id: the token whose embeddings an image replaces.
    """

    type_name: ClassVar[str] = "Processor"
    """transformers' name of the class, for export."""

    images_kwargs: Mapping[str, Any] = {}
    placeholder: str
    token_id: int

    def __init__(
        self, tokenizer: Tokenizer, image_processor: ImageProcessor, config: Any, raw: Mapping[str, Any]
    ) -> None:
        self.tokenizer = tokenizer
        self.image_processor = image_processor
        self.config = config
        self.raw = dict(raw)

    @abstractmethod
    def expansion(self, crops: int) -> str:
        """What the placeholder of an image becomes that was looked at in so many crops."""

    def __call__(
        self,
        text: str | Sequence[str],
        images: Any = None,
        *,
        add_special_tokens: bool = True,
        padding: bool = False,
        padding_side: str | None = None,
        return_tensors: str | None = None,
        images_kwargs: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        """Encode a text, or a list of texts, with its images.

        Args:
            text: each with as many placeholders as it has images.
            images: an image, or a list of images for one text; for several texts a list with a list, an image or
                None for each. An image is what `images.read_image` takes.
            add_special_tokens: put in what the model expects around a text.
            padding: pad to the longest row.
            padding_side: `"left"` or `"right"`; the files' own choice where None.
            return_tensors: `"np"` and others as a tokenizer's call takes them, instead of lists.
            images_kwargs: settings of the image processor for this call, keys as in preprocessor_config.json.

        Returns:
            `input_ids`, `attention_mask`, `token_type_ids` (1 for tokens that an image replaces), each a list of rows;
            and where there are images `pixel_values` (views, 3, height, width), float32, in the order of the text.

        Raises:
            ConfigError: a setting is malformed.
            InputError: a text has another number of placeholders than images, or an image cannot be read.
            TokenizerError: rows of different lengths are to be arrays, or there is no padding token.
        """
        texts = [text] if isinstance(text, str) else list(text)
        of_texts = images_of_texts(images, len(texts), single=isinstance(text, str))
        for index, (line, listed) in enumerate(zip(texts, of_texts, strict=True)):
            if line.count(self.placeholder) != len(listed):
                raise InputError(
                    f"Text {index} has {len(listed)} image(s) and {line.count(self.placeholder)} times "
                    f"{self.placeholder}, which stands for one: write it once for each, where the image belongs."
                )
        flat = [image for listed in of_texts for image in listed]
        image_processor = self.image_processor.changed({**self.images_kwargs, **(images_kwargs or {})})
        seen = image_processor(flat) if flat else {}
        expansions = iter([self.expansion(int(crops)) for crops in seen.get("num_crops", [0] * len(flat))])
        expanded = [self._expand(line, expansions) for line in texts]
        rows = dict(self.tokenizer(expanded, add_special_tokens=add_special_tokens, return_token_type_ids=False))
        rows["token_type_ids"] = [[int(token == self.token_id) for token in row] for row in rows["input_ids"]]
        if padding and rows["input_ids"]:
            pad = self.tokenizer.pad_token_id
            length = max(map(len, rows["input_ids"]))
            side = check_side(padding_side or self.tokenizer.padding_side)
            pad_rows(rows, length, 0 if pad is None else pad, side)
        result = as_tensors(rows, return_tensors) if return_tensors is not None else rows
        if flat:
            result["pixel_values"] = seen["pixel_values"]
        return result

    def apply_chat_template(self, messages: Any, *arguments: Any, **options: Any) -> dict[str, Any]:
        """Render a conversation, or a list of them, with the images in its messages, and encode it.

        Args:
            messages: content is a list of parts; an image is `{"type": "image", "image": …}`, with `path`, `url` or
                `base64` in the place of `image` as transformers has them.
            arguments, options: as `Tokenizer.apply_chat_template` takes them, and `padding`, `padding_side`,
                `return_tensors`, `images_kwargs`.

        Returns:
            As `__call__`, a list of rows for one conversation too.
        """
        call = {name: options.pop(name) for name in _FOR_THE_CALL if name in options}
        chats = list(messages) if is_batch(messages) else [messages]
        images = [images_of_chat(chat) for chat in chats]
        plain = [[_without_images(message) for message in chat] for chat in chats]
        texts = self.tokenizer.apply_chat_template(plain, *arguments, tokenize=False, **options)
        return self(texts, images, add_special_tokens=False, **call)

    def _expand(self, text: str, expansions: Any) -> str:
        first, *rest = text.split(self.placeholder)
        return first + "".join(next(expansions) + part for part in rest)

    def files(self) -> dict[str, Any]:
        """The files that transformers reads to the same processor, beside the tokenizer's: name → content."""
        return {
            **self.image_processor.files(),
            FILE: {**self.raw, "processor_class": self.type_name},
        }


def images_of_texts(images: Any, count: int, *, single: bool) -> list[list[Any]]:
    """Images as a list for each of `count` texts.

    Raises:
        InputError: there are not as many entries as texts.
    """
    if images is None:
        return [[] for _ in range(count)]
    if single:
        nested = isinstance(images, list | tuple) and len(images) == 1 and isinstance(images[0], list | tuple)
        return [list(images[0] if nested else images) if isinstance(images, list | tuple) else [images]]
    if not isinstance(images, list | tuple) or len(images) != count:
        got = len(images) if isinstance(images, list | tuple) else type(images).__name__
        raise InputError(f"For {count} texts, images is a list of {count} entries, one for each text; got {got}.")
    return [_of_one_text(entry) for entry in images]


def _of_one_text(entry: Any) -> list[Any]:
    if entry is None:
        return []
    return list(entry) if isinstance(entry, list | tuple) else [entry]


def images_of_chat(messages: Any) -> list[Any]:
    """The images in a conversation's messages, in order."""
    chat = messages if isinstance(messages, list | tuple) else ()
    return [part for message in chat for part in _parts(message) if part.get("type") == "image"]


def _parts(message: Any) -> list[Mapping[str, Any]]:
    content = message.get("content") if isinstance(message, Mapping) else getattr(message, "content", None)
    return [part for part in content if isinstance(part, Mapping)] if isinstance(content, list | tuple) else []


def _without_images(message: Any) -> Any:
    """A message as a chat template needs it: it asks where images are, not what is in them.

    Raises:
        InputError: a part is neither text nor image, and would be left out in silence.
    """
    for part in _parts(message):
        if part.get("type") not in ("text", "image"):
            raise InputError(
                f"A part of a message has the type {part.get('type')!r}: this model takes text and images."
            )
    if not any(part.get("type") == "image" for part in _parts(message)) or not isinstance(message, Mapping):
        return message
    content = [
        {"type": "image"} if isinstance(part, Mapping) and part["type"] == "image" else part
        for part in message["content"]
    ]
    return {**message, "content": content}
