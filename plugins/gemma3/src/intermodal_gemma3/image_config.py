"""Gemma 3's config with images: transformers' Gemma3Config, a text config and SigLIP's vision config in it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from intermodal.api import Account, ModelConfig, Problem, fields

from intermodal_gemma3.config import GemmaTextConfig

ACTIVATIONS = {
    "gelu_pytorch_tanh": "gelu_pytorch_tanh",
    "gelu_new": "gelu_pytorch_tanh",
    "gelu": "gelu",
    "relu": "relu",
    "silu": "silu",
    "swish": "silu",
}
MOST_ID = (1 << 31) - 1
HEAD = "vision_use_head"
TOKENS = {
    "image_token_index": ("image_token_id", 262144),
    "boi_token_index": ("boi_token_id", 255999),
    "eoi_token_index": ("eoi_token_id", 256000),
}
"""Keys of token ids, the other name that transformers takes for each, and the default."""


@dataclass(frozen=True, kw_only=True)
class SiglipVisionConfig(ModelConfig):
    """Config of the SigLIP image encoder (arXiv:2303.15343). Fields are those of transformers' SiglipVisionConfig."""

    model_types: ClassVar[tuple[str, ...]] = ("siglip_vision_model",)
    checked_against: ClassVar[str] = "5.23.0"
    spelled_keys: ClassVar[tuple[str, ...]] = (HEAD,)

    hidden_size: int = fields.size(768, most=1 << 20)
    intermediate_size: int = fields.size(3072, most=1 << 22)
    num_hidden_layers: int = fields.size(12, most=1 << 12)
    num_attention_heads: int = fields.size(12, most=1 << 14)
    num_channels: int = fields.size(3, most=1 << 10)
    image_size: int = fields.size(224, most=1 << 14)
    patch_size: int = fields.size(16, most=1 << 14)
    hidden_act: str = fields.choice("gelu_pytorch_tanh", ACTIVATIONS)
    layer_norm_eps: float = fields.number(1e-6, least=0.0, most=1.0)

    @property
    def side(self) -> int:
        """Patches along one side of an image."""
        return self.image_size // self.patch_size

    @classmethod
    def read_spellings(cls, account: Account, values: Mapping[str, Any]) -> dict[str, Any]:
        """See `ModelConfig.read_spellings`. Gemma 3 takes the patches and leaves the head that pools them unused."""
        account.read(fields.BOOLEAN, HEAD, account.take(HEAD, True))
        return {}

    def write_spellings(self) -> dict[str, Any]:
        """See `ModelConfig.write_spellings`. An export has no such head, whatever the checkpoint had."""
        return {HEAD: False}

    def contradictions(self) -> Iterator[Problem]:
        """See `ModelConfig.contradictions`."""
        yield from super().contradictions()
        if self.hidden_size % self.num_attention_heads:
            text = f"must be a multiple of num_attention_heads = {self.num_attention_heads}"
            yield Problem("hidden_size", self.hidden_size, text)
        if self.image_size % self.patch_size:
            text = f"must be a multiple of patch_size = {self.patch_size}"
            yield Problem("image_size", self.image_size, text)


@dataclass(frozen=True, kw_only=True)
class GemmaConfig(ModelConfig):
    """Config of Gemma 3 with images.

    Attributes:
        text_config, vision_config: of the two parts.
        mm_tokens_per_image: tokens that one image becomes, a square number.
        image_token_index: the token whose embeddings image features replace.
        boi_token_index, eoi_token_index: the tokens that begin and end an image.
        tie_word_embeddings: the head is the embedding table; this key counts, and that of `text_config` does not.
    """

    model_types: ClassVar[tuple[str, ...]] = ("gemma3",)
    checked_against: ClassVar[str] = "5.23.0"
    parts: ClassVar[Mapping[str, type[ModelConfig]]] = {
        "text_config": GemmaTextConfig,
        "vision_config": SiglipVisionConfig,
    }
    spelled_keys: ClassVar[tuple[str, ...]] = tuple(name for key, (other, _) in TOKENS.items() for name in (key, other))

    text_config: GemmaTextConfig = field(default_factory=GemmaTextConfig)
    vision_config: SiglipVisionConfig = field(default_factory=SiglipVisionConfig)
    mm_tokens_per_image: int = fields.size(256, most=1 << 20)
    tie_word_embeddings: bool = fields.flag(True)
    image_token_index: int = TOKENS["image_token_index"][1]
    boi_token_index: int = TOKENS["boi_token_index"][1]
    eoi_token_index: int = TOKENS["eoi_token_index"][1]

    @property
    def vocab_size(self) -> int:
        """Of the text model."""
        return self.text_config.vocab_size

    @property
    def hidden_size(self) -> int:
        """Of the text model."""
        return self.text_config.hidden_size

    @property
    def max_position_embeddings(self) -> int:
        """Tokens that the model was made for, images included."""
        return self.text_config.max_position_embeddings

    @property
    def pad_token_id(self) -> int | None:
        """Of the text model."""
        return self.text_config.pad_token_id

    @property
    def image_token_id(self) -> int:
        """The token whose embeddings image features replace."""
        return self.image_token_index

    @property
    def pool(self) -> int:
        """Patches along a side that are averaged into one token."""
        return self.vision_config.side // math.isqrt(self.mm_tokens_per_image)

    @classmethod
    def read_spellings(cls, account: Account, values: Mapping[str, Any]) -> dict[str, Any]:
        """See `ModelConfig.read_spellings`."""
        found = {}
        for key, (other, default) in TOKENS.items():
            value = account.take(key, account.raw.get(other, default))
            if account.take(other, value) != value:
                account.refuse(key, value, f"{other} is another name of it and says {account.raw[other]!r}")
            found[key] = account.read(fields.integer(0, MOST_ID), key, value)
        return found

    def write_spellings(self) -> dict[str, Any]:
        """See `ModelConfig.write_spellings`."""
        return {key: getattr(self, key) for key in TOKENS}

    def contradictions(self) -> Iterator[Problem]:
        """See `ModelConfig.contradictions`."""
        yield from super().contradictions()
        tokens, side = self.mm_tokens_per_image, self.vision_config.side
        root = math.isqrt(tokens)
        if root * root != tokens or side % root:
            text = f"must be the square of a divisor of {side}, the patches along a side of an image"
            yield Problem("mm_tokens_per_image", tokens, text)
        if self.text_config.use_bidirectional_attention:
            text = "text that looks both ways is not read beside images"
            yield Problem("text_config.use_bidirectional_attention", True, text)
        if (cap := self.text_config.final_logit_softcapping) is not None:
            text = "implementations differ in whether they cap the logits of the model with images"
            yield Problem("text_config.final_logit_softcapping", cap, text)
