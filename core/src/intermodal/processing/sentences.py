"""How hidden states become one vector of a text, in the terms of sentence-transformers: pooling, modules, prompts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from intermodal.processing.dense import Dense
from intermodal.weights.map import Weight

POOLING_KEYS = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}
"""Keys of a Pooling module's config before version 6, in the order in which several are put side by side."""

MODULE = "sentence_transformers."
PIPELINE, TRANSFORMER, OPTIONS = "modules.json", "sentence_bert_config.json", "config_sentence_transformers.json"

FIRST_DENSE = 2
"""Number of the first Dense module; the model and its pooling come before it. GGUF's `dense_2` counts alike."""


@dataclass(frozen=True)
class SentenceSettings:
    """How hidden states become the vector of a text.

    Attributes:
        pooling: one or several of the values of `POOLING_KEYS`, which are put side by side.
        normalize: whether vectors are brought to length 1, as the last module does.
        max_length: tokens that a text is cut to; None leaves it to the tokenizer and the model.
        lowercase: whether texts are lower-cased before the tokenizer sees them.
        prompts: what is put before texts, by name.
        default_prompt: name of the one that is put there unless a call says otherwise.
        include_prompt: whether the prompt's own tokens are pooled too.
        dense: the linears between the pooling and the norm.
        truncate: how many dimensions of a vector are kept in the end; None keeps all.
        similarity: what vectors are meant to be compared by, `"cosine"` or another; None where nothing says.
    """

    pooling: tuple[str, ...]
    normalize: bool = False
    max_length: int | None = None
    lowercase: bool = False
    prompts: Mapping[str, str] = field(default_factory=dict)
    default_prompt: str | None = None
    include_prompt: bool = True
    dense: tuple[Dense, ...] = ()
    truncate: int | None = None
    similarity: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """As JSON types; `SentenceSettings.from_dict` takes it."""
        return {**asdict(self), "pooling": list(self.pooling), "dense": [dense.to_dict() for dense in self.dense]}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> SentenceSettings:
        """The settings that `to_dict` gave."""
        dense = tuple(Dense(**dense) for dense in values["dense"])
        return cls(**{**values, "pooling": tuple(values["pooling"]), "dense": dense})

    def width(self, hidden_size: int) -> int:
        """Dimensions of a vector, of a model whose hidden states have `hidden_size`."""
        width = self.dense[-1].out_features if self.dense else hidden_size * len(self.pooling)
        return width if self.truncate is None else min(width, self.truncate)

    def dense_modules(self) -> dict[str, Dense]:
        """The linears by the folder that each is written to, which its weights' names begin with."""
        return {f"{number}_Dense": dense for number, dense in enumerate(self.dense, FIRST_DENSE)}

    def weights(self) -> list[Weight]:
        """The weights of the linears."""
        return [
            weight
            for number, (folder, dense) in enumerate(self.dense_modules().items(), FIRST_DENSE)
            for weight in dense.weights(folder, f"dense_{number}")
        ]

    def files(self, hidden_size: int) -> dict[str, Any]:
        """The files that sentence-transformers, of any version, reads the same from: name → JSON.

        Args:
            hidden_size: of the model.
        """
        names = ["Transformer", "Pooling", *["Dense"] * len(self.dense), *(["Normalize"] if self.normalize else [])]
        pooling: dict[str, Any] = {"word_embedding_dimension": hidden_size, "include_prompt": self.include_prompt}
        if tuple(mode for mode in POOLING_KEYS.values() if mode in self.pooling) == self.pooling:
            pooling |= {key: mode in self.pooling for key, mode in POOLING_KEYS.items()}
        else:
            pooling["pooling_mode"] = list(self.pooling)
        modules = [
            {"idx": i, "name": str(i), "path": f"{i}_{name}" if i else "", "type": f"{MODULE}models.{name}"}
            for i, name in enumerate(names)
        ]
        limit = {} if self.max_length is None else {"max_seq_length": self.max_length}
        truncate = {} if self.truncate is None else {"truncate_dim": self.truncate}
        return {
            PIPELINE: modules,
            "1_Pooling/config.json": pooling,
            **{f"{folder}/config.json": dense.to_json() for folder, dense in self.dense_modules().items()},
            TRANSFORMER: {**limit, "do_lower_case": self.lowercase},
            OPTIONS: {
                "prompts": dict(self.prompts),
                "default_prompt_name": self.default_prompt,
                "similarity_fn_name": self.similarity,
                **truncate,
            },
        }
