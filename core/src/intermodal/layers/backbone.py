"""The backbone: a model without its head. Families subclass it and write `forward`."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any

from intermodal import kernels
from intermodal.kernels.ops import ops
from intermodal.layers.parameters import Parameters, Supply, Tree
from intermodal.layers.step import Step
from intermodal.layers.storage import StoragePolicy
from intermodal.weights.map import WeightMap

Tensor = Any


class Backbone(Parameters):
    """Hidden states from tokens. It owns the backbone variables of its weight map.

    A subclass is written once for all backends: `forward` calls kernels on bundles and reads top to bottom. The same
    function serves training through Keras, and generation, which calls it without any Keras layer in between.

    Args:
        config: the family's typed config.
        weight_map: what variables there are.
        supply: where their values come from.
        policy: how they are stored and computed in.
    """

    def __init__(
        self, config: Any, weight_map: WeightMap, supply: Supply, policy: StoragePolicy, **options: Any
    ) -> None:
        variables = [variable for variable in weight_map.variables() if not variable.head]
        super().__init__(variables, supply, policy, name=options.pop("name", "backbone"), **options)
        self.config = config

    @abstractmethod
    def forward(self, w: Tree, step: Step) -> dict[str, Tensor]:
        """Compute one pass.

        Args:
            w: this layer's tensors in bundles, as `tensors()` gives them.
            step: tokens, positions and cache; layers that attend replace its cache.

        Returns:
            `{"last_hidden_state": (B, T, hidden)}`, and `"pooler_output"` (B, hidden) where the model has one.
        """

    def tables(self) -> dict[str, int]:
        """Inputs that are indices, and how many rows the table has that they point into."""
        return {"input_ids": self.config.vocab_size}

    def check_inputs(self, inputs: Mapping[str, Any]) -> None:
        """Refuse what would be computed wrong in silence. Only what is in the host's memory can be looked at.

        Raises:
            InputError: an index is beyond its table; or what else the family checks.
        """
        from intermodal.tasks.inputs import check_indices

        check_indices(inputs, self.tables())

    @property
    def pooled(self) -> bool:
        """Whether `forward` also returns `"pooler_output"`."""
        return False

    def token_logits(self, w: Tree, hidden: Tensor) -> Tensor:
        """Logits (B, T, vocabulary) of the word at each position, for families that fill masks.

        Args:
            w: the backbone's tensors, and the head's under `"head"`.
            hidden: (B, T, hidden).
        """
        raise NotImplementedError(f"{type(self).__name__} does not say how it fills masks")

    def next_sentence_logits(self, w: Tree, pooled: Tensor) -> Tensor:
        """Logits (B, 2) of the second text following the first, or not, for families trained to tell.

        Args:
            w: the backbone's tensors, and the head's under `"head"`.
            pooled: (B, hidden).
        """
        raise NotImplementedError(f"{type(self).__name__} does not say how it tells next sentences")

    def cache_shape(self) -> tuple[int, int, int]:
        """Layers, key-value heads and head width of the cache that `forward` fills."""
        config = self.config
        return config.num_hidden_layers, config.num_key_value_heads, config.head_dim

    def new_cache(self, batch: int, capacity: int) -> list[kernels.Cache]:
        """An empty cache for `batch` sequences of at most `capacity` tokens, in the compute dtype."""
        layers, heads, width = self.cache_shape()
        return [kernels.new_cache(batch, heads, capacity, width, self.compute_dtype) for _ in range(layers)]

    def call(self, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        """Hidden states of whole sequences, as Keras calls it. See `TaskModel` for the inputs."""
        return self.forward(self.tensors(), self.step(inputs))

    def step(self, inputs: dict[str, Tensor]) -> Step:
        """The step of a whole sequence: `input_ids` (B, T), and optionally `attention_mask` and `position_ids`."""
        ids = inputs["input_ids"]
        positions = inputs.get("position_ids")
        if positions is None:
            positions = ops.arange(kernels.length_of(ids), dtype="int32")[None, :]
        others = {k: v for k, v in inputs.items() if k not in ("input_ids", "attention_mask", "position_ids")}
        return Step(ids, positions, valid=inputs.get("attention_mask"), inputs=others)
