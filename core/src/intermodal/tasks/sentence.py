"""Sentence embedding: one vector of a text, such that texts of like meaning have vectors of like direction."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import keras
import numpy as np

from intermodal import kernels
from intermodal.errors import TaskError, TokenizerError
from intermodal.kernels.ops import ops
from intermodal.layers.parameters import Tree
from intermodal.layers.step import Step
from intermodal.processing.sentences import SentenceSettings
from intermodal.tasks.base import TaskModel, Tensor
from intermodal.tasks.batches import padded
from intermodal.tasks.packing import computed, reads_side_by_side, side_by_side
from intermodal.tasks.pooling import normalize, pool

ACTIVATIONS = {
    "Identity": lambda x: x,
    "Tanh": kernels.tanh,
    "ReLU": kernels.relu,
    "GELU": kernels.gelu,
    "SiLU": kernels.silu,
    "Sigmoid": ops.sigmoid,
}
"""What the names of `intermodal.processing.dense.ACTIVATIONS` compute."""


@keras.saving.register_keras_serializable(package="intermodal")
class SentenceEmbedding(TaskModel):
    """Called, it returns vectors (batch, width) in float32; `embed` makes them of texts.

    Attributes:
        sentences: how they are pooled, and what is done to texts before.
    """

    task = "sentence-similarity"
    output_name = "sentence_embedding"
    sentences: SentenceSettings

    @property
    def width(self) -> int:
        """Dimensions of a vector."""
        return self.sentences.width(self.config.hidden_size)

    def compute(self, w: Tree, step: Step) -> Tensor:
        """Vectors (B, width)."""
        hidden = self.backbone.forward(w, step)["last_hidden_state"]
        vectors = pool(hidden, step.texts.members if step.texts else step.valid, self.sentences.pooling)
        for folder, dense in self.sentences.dense_modules().items():
            vectors = ACTIVATIONS[dense.activation](kernels.linear(vectors, w["head"][f"{folder}.linear"]))
        if self.sentences.normalize:
            vectors = normalize(vectors)
        return vectors[:, : self.sentences.truncate]

    def output_spec(self, batch: int | None, length: int | None) -> Any:
        """(batch, width), float32."""
        return keras.KerasTensor((batch, self.width), dtype="float32")

    def embed(
        self,
        texts: str | Sequence[str],
        batch_size: int = 32,
        *,
        prompt_name: str | None = None,
        prompt: str | None = None,
    ) -> np.ndarray:
        """Vectors of texts. Texts of like length are computed together, and each is cut to the model's limit.

        Args:
            texts: a list of them, or a single one.
            batch_size: how many are computed at a time where they have to be padded. Compiled kernels need no padding:
                there texts are read side by side, about a thousand tokens at a time.
            prompt_name: one of the checkpoint's own prompts (`sentences.prompts`), which is put before each text; its
                default where None.
            prompt: a text to be put there instead; "" puts none.

        Returns:
            float32 of shape (number of texts, width), or (width,) for a single text.

        Raises:
            TokenizerError: the checkpoint has no tokenizer, or one with more tokens than the model.
            TaskError: there is no such prompt, or the model was trained to leave a prompt's tokens out of the pooling.
        """
        if isinstance(texts, str):
            return self.embed([texts], batch_size, prompt_name=prompt_name, prompt=prompt)[0]
        lead = self._prompt(prompt_name) if prompt is None else prompt
        if lead and not self.sentences.include_prompt:
            raise TaskError('Its pooling leaves the prompt\'s tokens out, which is not supported: pass prompt="".')
        rows = self._tokens([lead + text for text in texts])
        vectors = np.empty((len(texts), self.width), np.float32)
        # The largest of each text, side by side, would take a copy of all tokens for every text.
        if "max" not in self.sentences.pooling and reads_side_by_side(self, rows):
            for members, inputs in side_by_side(rows):
                vectors[members] = computed(self, inputs)[: len(members)]
        else:
            for members, inputs in self._padded(rows, max(1, batch_size)):
                vectors[members] = self.predict_on_batch(inputs)[: len(members)]
        return vectors

    def _padded(self, rows: Mapping[str, Sequence[list[int]]], size: int) -> Iterator[tuple[list[int], Any]]:
        """Batches of rows of like length: which rows, and the inputs."""
        order = sorted(range(len(rows["input_ids"])), key=lambda index: -len(rows["input_ids"][index]))
        for start in range(0, len(order), size):
            members = order[start : start + size]
            inputs = {name: [values[index] for index in members] for name, values in rows.items()}
            yield members, padded(inputs, self.config.context_length)

    def get_config(self) -> dict[str, Any]:
        """See `TaskModel.get_config`."""
        return {**super().get_config(), "sentences": self.sentences.to_dict()}

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> TaskModel:
        """See `TaskModel.from_config`."""
        model = super().from_config(config, custom_objects)
        assert isinstance(model, SentenceEmbedding)
        model.sentences = SentenceSettings.from_dict(config["sentences"])
        return model

    def more_files(self) -> dict[str, Any]:
        """What sentence-transformers reads."""
        return self.sentences.files(self.config.hidden_size)

    def _prompt(self, name: str | None) -> str:
        prompts = self.sentences.prompts
        name = self.sentences.default_prompt if name is None else name
        if name is not None and name not in prompts:
            raise TaskError(f"There is no prompt {name!r}; there are: {', '.join(sorted(prompts)) or 'none'}.")
        return "" if name is None else prompts[name]

    def _tokens(self, texts: list[str]) -> dict[str, list[list[int]]]:
        """Inputs of each text, unpadded."""
        if self.tokenizer is None:
            raise TokenizerError(
                "The checkpoint has no tokenizer, so texts cannot be embedded; call the model with ids."
            )
        if self.tokenizer.max_id >= self.config.vocab_size:
            raise TokenizerError(
                f"The tokenizer has ids up to {self.tokenizer.max_id}, and the model {self.config.vocab_size} rows: "
                "they do not belong together."
            )
        limits = (self.sentences.max_length, self.tokenizer.model_max_length, self.config.context_length)
        limit = min(limit for limit in limits if limit is not None)
        if self.sentences.lowercase:
            texts = [text.lower() for text in texts]
        return self.tokenizer(texts, truncation=True, max_length=limit)
