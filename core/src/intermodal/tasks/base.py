"""What all tasks share: a Keras model with a backbone, perhaps a head, and the way back to a checkpoint."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import keras

from intermodal import kernels
from intermodal.families import Family
from intermodal.layers.backbone import Backbone
from intermodal.layers.parameters import Parameters, Supply, Tree
from intermodal.layers.step import Step
from intermodal.layers.storage import StoragePolicy
from intermodal.program_cache import keep_programs
from intermodal.tasks.inputs import check_keywords
from intermodal.tasks.outputs import named_outputs
from intermodal.weights.map import WeightMap

if TYPE_CHECKING:
    from intermodal.generation.settings import GenerationSettings
    from intermodal.processing.tokenizer import Tokenizer
    from intermodal.weights.report import LoadReport

Tensor = Any


class TaskModel(keras.Model):
    """A checkpoint's model for one task. A real Keras model: `fit`, `predict`, `save` and the rest work on it.

    Call it with a dict or with keywords: `input_ids` (batch, sequence) integers; optionally `attention_mask` of the
    same shape (1 for text, 0 for padding), `position_ids`, and whatever else the family's backbone reads. A backbone
    that reads no text has another main input: `pixel_values` (batch, channels, height, width) or `input_values`.

    Attributes:
        output_name: what its result is called where that is one tensor.
        family: who it belongs to. `config`: the family's typed config. `weight_map`: its weights, by name.
        backbone, head: the layers that own the variables. `head` is None where the task has none of its own.
        tokenizer: from the checkpoint, or None where it holds none.
        processor: for families that take more than text: makes inputs of it. A `Processor` where text comes beside,
            else an `ImageProcessor` or a feature extractor.
        generation_settings: defaults of the checkpoint's generation_config.json.
        report: what was loaded from where; None for a model that was not loaded.
        quantization: what weights are packed as: a mode of `quantize`, or the file's own types; None where none is.
        checkpoint_dtypes: narrower dtypes that the checkpoint has of variables that `dtype="auto"` widened to float32.
    """

    task: str
    output_name: ClassVar[str] = "logits"

    def __init__(
        self,
        family: Family,
        config: Any,
        weight_map: WeightMap,
        supply: Supply,
        policy: StoragePolicy,
        **options: Any,
    ) -> None:
        if keras.backend.backend() == "jax":
            keep_programs()
        super().__init__(dtype=policy, **options)
        self.family = family
        self.config = config
        self.weight_map = weight_map
        backbone: type[Backbone] = _resolve_backbone(family)
        self.backbone = backbone(config, weight_map, supply, policy)
        head = [variable for variable in weight_map.variables() if variable.head]
        self.head = Parameters(head, supply, policy, name="head") if head else None
        self.tokenizer: Tokenizer | None = None
        self.processor: Any = None
        self.generation_settings: GenerationSettings | None = None
        self.report: LoadReport | None = None
        self.adapter: dict[str, Any] | None = None
        self.quantization: str | None = None
        self.checkpoint_dtypes: dict[str, str] = {}
        self.drop_programs()
        self.built = True

    @property
    def main_input(self) -> str:
        """What a single positional argument is, and what has to be given; the backbone says."""
        return self.backbone.main_input

    # --- computing ---------------------------------------------------------------------------------------------------

    def tensors(self) -> Tree:
        """All tensors as they are now: the backbone's tree, and the head's under `"head"`."""
        return {**self.backbone.tensors(), "head": self.head.tensors() if self.head else {}}

    @abstractmethod
    def compute(self, w: Tree, step: Step) -> Any:
        """The task's output from tensors and a step. Pure: it depends on nothing else."""

    def __call__(self, inputs: Any = None, **keywords: Any) -> Any:
        """Compute outputs from a dict, from keywords, or from the main input alone.

        Called with keywords alone, as transformers' models are, it returns `Outputs`, whose names are transformers'.

        Raises:
            InputError: an index is beyond its table, or a keyword asks for what is not computed.
        """
        if inputs is None:
            given = {name: keywords.pop(name) for name in list(keywords) if name != "training"}
            inputs = check_keywords(given, self.backbone.flags)
            return named_outputs(self(inputs, **keywords), self.output_name)
        names = [name for name in keywords if name not in ("training", "mask")]
        if isinstance(inputs, dict):
            inputs = dict(inputs)  # Keras knows no subclasses of dict, which tokenizers return
        else:
            inputs = {self.main_input: inputs, **{name: keywords.pop(name) for name in names}}
        if self.main_input not in inputs:
            raise ValueError(f"{type(self).__name__} needs {self.main_input}; got {sorted(inputs)}")
        self.backbone.check_inputs(inputs)
        flags = {name: inputs.pop(name) for name in self.backbone.flags if name in inputs}
        if flags:  # Keras takes nothing but tensors in a dict of inputs
            keywords["flags"] = flags
        return super().__call__(inputs, **keywords)

    def call(self, inputs: dict[str, Tensor], training: bool = False, flags: dict[str, bool] | None = None) -> Any:
        """What Keras calls; see `__call__`. `flags` are inputs that are no tensors."""
        if not isinstance(inputs, dict):
            inputs = {self.main_input: inputs}
        return self.compute(self.tensors(), self.backbone.step({**inputs, **(flags or {})}))

    def predict_step(self, *arguments: Any) -> Any:
        """What Keras compiles for `predict`."""
        with kernels.inference() if self.jit_compile and not self.run_eagerly else nullcontext():
            return super().predict_step(*arguments)

    def compute_output_spec(self, inputs: Any, **_: Any) -> Any:
        """Output shapes for Keras' symbolic calls, without tracing the backbone."""
        main = inputs[self.main_input] if isinstance(inputs, dict) else inputs
        hidden = self.backbone.output_shapes(tuple(main.shape))["last_hidden_state"]
        # Behind the states of tokens there may be others, of which no task on tokens tells anything.
        return self.output_spec(hidden[0], main.shape[1] if self.main_input == "input_ids" else hidden[1])

    @abstractmethod
    def output_spec(self, batch: int | None, length: int | None) -> Any:
        """`KerasTensor`s of the outputs for hidden states (batch, length, width), of tokens where there are any."""

    def make_predict_function(self, force: bool = False) -> Any:
        """Compile what `predict` calls, as Keras does; on JAX so that weights stay where they are: see `steps_jax`."""
        if not (keras.backend.backend() == "jax" and self.jit_compile and not self.run_eagerly):
            return super().make_predict_function(force)
        if force or self.predict_function is None:
            from intermodal.tasks.steps_jax import predict_step

            self.predict_function = self._make_function(predict_step(self), concatenate_outputs=True)
        return self.predict_function

    def make_test_function(self, force: bool = False) -> Any:
        """Compile what `evaluate` calls, likewise."""
        if not (keras.backend.backend() == "jax" and self.jit_compile and not self.run_eagerly):
            return super().make_test_function(force)
        if force or self.test_function is None:
            from intermodal.tasks.steps_jax import test_step

            self.test_function = self._make_function(test_step(self))
        return self.test_function

    def drop_programs(self) -> None:
        """Forget what was compiled for the present variables; whoever replaces some of them calls this.

        TensorFlow's programs hold variables, and go on computing with those that a model no longer has.
        """
        self._generation_loop: Any = None
        self._texts_program: Any = None
        self.predict_function = self.test_function = self.train_function = None

    # --- changing the weights ----------------------------------------------------------------------------------------

    def enable_lora(
        self, rank: int, targets: Sequence[str] | None = None, *, alpha: float | None = None, seed: int | None = None
    ) -> None:
        """Freeze the weights and add low-rank updates to linears (arXiv:2106.09685). See `intermodal.layers.lora`."""
        from intermodal.layers.lora import enable_lora

        enable_lora(self, rank, targets, alpha=alpha, seed=seed)

    def merge_adapter(self) -> None:
        """Make LoRA updates part of the weights, as PEFT's `merge_and_unload` does. See `intermodal.layers.lora`."""
        from intermodal.layers.lora import merge

        merge(self)

    def quantize(self, mode: str | None = None, config: Any = None, **options: Any) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Store every linear and embedding in fewer bits. See `intermodal.layers.quantize`.

        Keras resolves `mode` to a `config` before it calls this; one with quantisers of the user's own is refused.
        """
        from intermodal.layers.quantize import quantize

        if config is not None and config.weight_quantizer is not None:
            options["config"] = config
        quantize(self, str(mode), **options)

    def make_train_function(self, force: bool = False) -> Any:
        """What Keras calls before it trains.

        Raises:
            WeightError: the matrices are packed integers, and nothing is there to be trained in their place.
        """
        from intermodal.layers.quantize import check_trainable

        check_trainable(self)
        return super().make_train_function(force=force)

    def num_parameters(self, only_trainable: bool = False, exclude_embeddings: bool = False) -> int:
        """How many numbers its weights are; those that several layers share count once."""
        declared = [(variable, part.by_name[variable.name]) for part in self.parts() for variable in part.declared]
        return sum(
            math.prod(variable.shape)
            for variable, value in declared
            if (value.trainable or not only_trainable) and not (exclude_embeddings and variable.role == "embedding")
        )

    def parts(self) -> list[Parameters]:
        """The layers that own variables."""
        return [self.backbone, *([self.head] if self.head else [])]

    # --- writing it back ---------------------------------------------------------------------------------------------

    def save_pretrained(self, folder: str | Path, *, max_shard_size: int | str = "5GB") -> None:
        """Write a Hugging Face folder: safetensors, config.json, generation_config.json and the tokenizer's files.

        It goes through the weight map inverted, so that transformers and vLLM read it with no missing or unexpected
        key. LoRA updates are merged, quantised weights are written as floats. Written beside and renamed into place.
        """
        from intermodal.weights.exporter import save_pretrained

        save_pretrained(self, folder, max_shard_size=max_shard_size)

    def save_adapter(self, folder: str | Path) -> None:
        """Write the LoRA updates alone, as PEFT has them: adapter_config.json and adapter_model.safetensors.

        The head of a classification task, which is trained beside the updates, is written too (`modules_to_save`).
        See `intermodal.adapters.saving`.
        """
        from intermodal.adapters.saving import save_adapter

        save_adapter(self, folder)

    def more_files(self) -> dict[str, Any]:
        """JSON files that the task needs beside config.json when it is saved: name → content."""
        return self.processor.files() if self.processor else {}

    def get_config(self) -> dict[str, Any]:
        """What `from_config` needs to make the same model, blank."""
        return {
            "family": self.family.model_types[0],
            "task": self.task,
            "config": self.config.to_hf(),
            "dtypes": {name: kind for name, kind in self._dtypes().items() if kind != self.dtype_policy.variable_dtype},
            "policy": self.dtype_policy.get_config(),
            "left_out": list(self.weight_map.left_out),
            "adapter": self.adapter,
            "quantization": self.quantization,
            "packings": {name: p.to_dict() for part in self.parts() for name, p in part.packings.items()},
            "checkpoint_dtypes": self.checkpoint_dtypes,
        }

    def _dtypes(self) -> dict[str, str]:
        return {
            v.name: str(part.by_name[v.name].dtype)
            for part in self.parts()
            for v in part.declared
            if v.name not in part.packings
        }

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> TaskModel:
        """Make a blank model of a saved config; its weights follow (`keras.models.load_model` does both)."""
        from intermodal.tasks.restore import from_saved_config

        return from_saved_config(config, cls)

    def save_assets(self, inner_path: str) -> None:
        """Keep the tokenizer and the generation settings in a `.keras` file."""
        from intermodal.tasks.restore import save_assets

        save_assets(self, inner_path)

    def load_assets(self, inner_path: str) -> None:
        """Read the tokenizer and the generation settings of a `.keras` file."""
        from intermodal.tasks.restore import load_assets

        load_assets(self, inner_path)


def _resolve_backbone(family: Family) -> type[Backbone]:
    from intermodal.families import resolve

    return resolve(family.backbone)
