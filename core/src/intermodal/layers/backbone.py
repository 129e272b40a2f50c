"""The backbone: a model without its head. Families subclass it and write `forward`."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

from intermodal import kernels
from intermodal.errors import InputError
from intermodal.kernels.ops import ops
from intermodal.layers.parameters import Parameters, Supply, Tree, only
from intermodal.layers.step import Step, Texts
from intermodal.layers.storage import StoragePolicy
from intermodal.weights.map import WeightMap

Tensor = Any

PACKED = frozenset({"text_numbers", "text_begins", "text_ends"})
"""Inputs that say which texts are read side by side: (1, T), (S,) and (S,) int32, as `Texts` has them."""


class Backbone(Parameters):
    """Hidden states from tokens, pixels or sound. It owns the backbone variables of its weight map.

    A subclass is written once for all backends: `forward` calls kernels on bundles and reads top to bottom. The same
    function serves training through Keras, and generation, which calls it without any Keras layer in between.

    Args:
        config: the family's typed config.
        weight_map: what variables there are.
        supply: where their values come from.
        policy: how they are stored and computed in.

    Attributes:
        main_input: what a single positional argument is, and what has to be given: `"pixel_values"`, `"input_values"`.
        reads: names of all inputs that have an effect; a call with any other is refused.
        flags: those among them that are true or false, and no tensors.
        reads_packed: whether texts can be read side by side: what `forward` computes of a token depends on where it
            stands by `Step.positions` and `Step.mask` alone, and it takes `Step.first_of_each(x)` for `x[:, 0]`.
    """

    main_input: ClassVar[str] = "input_ids"
    reads: ClassVar[tuple[str, ...]] = ("input_ids", "attention_mask", "position_ids")
    flags: ClassVar[tuple[str, ...]] = ()
    reads_packed: ClassVar[bool] = False

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
        return {"input_ids": self.config.vocab_size} if "input_ids" in self.reads else {}

    def check_inputs(self, inputs: Mapping[str, Any]) -> None:
        """Refuse what would be computed wrong in silence. Only what is in the host's memory can be looked at.

        Raises:
            InputError: an input has no effect, or an index is beyond its table; or what else the family checks.
        """
        from intermodal.tasks.inputs import check_indices, check_names

        reads = self.reads
        if self.reads_packed and inputs.keys() >= PACKED:  # which tell padding and positions
            reads = (*(name for name in reads if name not in ("attention_mask", "position_ids")), *sorted(PACKED))
        check_names(inputs, reads)
        check_indices(inputs, self.tables())

    def check_length(self, step: Step, limit: int) -> None:
        """Refuse a sequence that is longer than a table of positions, as a family with one does first in `forward`.

        Args:
            step: its tokens.
            limit: rows of the table, `max_position_embeddings`.

        Raises:
            InputError: it is longer.
        """
        if step.texts is None and isinstance(step.length, int) and step.length > limit:
            raise InputError(
                f"The sequence has {step.length} tokens, and the model has positions for {limit} "
                "(max_position_embeddings): cut it, with tokenizer(…, truncation=True)."
            )

    @property
    def pooled(self) -> bool:
        """Whether `forward` also returns `"pooler_output"`."""
        return False

    def output_shapes(self, shape: tuple[int | None, ...]) -> dict[str, tuple[int | None, ...]]:
        """Shapes of what `forward` returns, for a main input of this shape; None stands for what is not known.

        A family overrides it whose hidden states are not one for each token.
        """
        width = self.config.hidden_size
        shapes = {"last_hidden_state": (*shape, width)}
        return {**shapes, "pooler_output": (shape[0], width)} if self.pooled else shapes

    def class_logits(self, w: Tree, step: Step, outputs: dict[str, Tensor]) -> Tensor:
        """Logits (B, labels) of whole inputs, for every task that classifies them.

        Here it is the head's one linear, on `pooler_output` or else on the last token that is not padding. A family
        overrides it whose head is more than that, or reads another position.

        Args:
            w: the backbone's tensors, and the head's under `"head"`.
            step: what `forward` was called with.
            outputs: what it returned.
        """
        pooled = outputs.get("pooler_output")
        if pooled is None:
            pooled = self._last_states(step, outputs["last_hidden_state"])
        return kernels.linear(pooled, only(w["head"]))

    def _last_states(self, step: Step, hidden: Tensor) -> Tensor:
        pad = self.config.pad_token_id
        if step.texts is not None:
            return ops.take(hidden[0], last_of_texts(step.token_ids[0], step.texts, pad), axis=0)
        last = last_token(step.token_ids, step.valid, pad)
        return ops.take_along_axis(hidden, ops.cast(last, "int32")[:, None, None], axis=1)[:, 0]

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
        """The step of a whole sequence: `input_ids` (B, T), and optionally `attention_mask` and `position_ids`.

        Without `input_ids` it has no tokens and no positions of its own; all other inputs are in `Step.inputs`.
        Of texts side by side, `input_ids` (1, T), there are `PACKED` too: see `tasks.packing`.
        """
        if inputs.keys() >= PACKED:
            return _packed_step(inputs)
        ids = inputs.get("input_ids")
        positions = inputs.get("position_ids")
        if positions is None and ids is not None:
            positions = ops.arange(kernels.length_of(ids), dtype="int32")[None, :]
        others = {k: v for k, v in inputs.items() if k not in ("input_ids", "attention_mask", "position_ids")}
        return Step(ids, positions, valid=inputs.get("attention_mask"), inputs=others)


def _packed_step(inputs: Mapping[str, Tensor]) -> Step:
    ends = ops.cast(inputs["text_ends"], "int32")
    texts = Texts(inputs["text_numbers"][0], ops.cast(inputs["text_begins"], "int32"), ends)
    ranges = texts.ranges()
    positions = ops.maximum(ranges.slots - ranges.first, 0)[None]
    others = {name: values for name, values in inputs.items() if name not in {"input_ids", *PACKED}}
    return Step(inputs["input_ids"], positions, packed=ranges, texts=texts, inputs=others)


def last_token(ids: Tensor, valid: Tensor | None, pad_token_id: int | None) -> Tensor:
    """Index (B,) of the last token that is not padding, found as the reference does: by the padding id if there is one.

    Without a padding id the attention mask tells, and without a mask the last token is meant.
    """
    length = kernels.length_of(ids)
    if pad_token_id is not None:
        text = ops.not_equal(ids, pad_token_id)
    elif valid is not None:
        text = ops.cast(valid, "bool")
    else:
        return ops.zeros_like(ids[:, 0]) + (length - 1)
    return ops.argmax(ops.cast(text, "int32") * ops.arange(length, dtype="int32")[None, :], axis=-1)


def last_of_texts(ids: Tensor, texts: Texts, pad_token_id: int | None) -> Tensor:
    """`last_token` of each text, as an index (S,) of ids (T,): that of its first token where all are padding."""
    text = texts.members
    if pad_token_id is not None:
        text = ops.logical_and(text, ops.not_equal(ids, pad_token_id))
    places = ops.arange(ops.shape(ids)[0], dtype="int32")
    return ops.max(ops.where(text, places, texts.begins[:, None]), axis=-1)
