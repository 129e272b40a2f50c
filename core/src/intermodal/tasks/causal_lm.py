"""Text generation: logits of the next token, and the text they make."""

from __future__ import annotations

from typing import Any, ClassVar

import keras

from intermodal import kernels
from intermodal.kernels.ops import ops
from intermodal.layers.parameters import Tree
from intermodal.layers.step import Step
from intermodal.tasks.base import TaskModel, Tensor


@keras.saving.register_keras_serializable(package="intermodal")
class CausalLM(TaskModel):
    """Called, it returns logits (batch, sequence, vocabulary) in float32."""

    task = "text-generation"
    prompt_inputs: ClassVar[tuple[str, ...]] = ()
    """What `generate` takes beside token ids."""

    def logits(self, w: Tree, step: Step, *, last_only: bool = False) -> Tensor:
        """Logits of every position (B, T, V), or of the last alone (B, 1, V), in float32. `step.cache` is replaced.

        A config with a `final_logit_softcapping` keeps them between minus and plus that value, by a tanh.
        """
        hidden = self.backbone.forward(w, step)["last_hidden_state"]
        if last_only:
            hidden = hidden[:, -1:]
        tied = self.weight_map["lm_head.weight"].tied_to
        head = w["embed_tokens"] if tied else w["head"]["lm_head"]
        logits = ops.cast(kernels.linear(hidden, head), "float32")
        cap = getattr(self.config, "final_logit_softcapping", None)
        return logits if cap is None else cap * ops.tanh(logits / cap)

    def compute(self, w: Tree, step: Step) -> Tensor:
        """Logits of every position."""
        return self.logits(w, step)

    def output_spec(self, batch: int | None, length: int | None) -> Any:
        """(batch, sequence, vocabulary), float32."""
        return keras.KerasTensor((batch, length, self.config.vocab_size), dtype="float32")

    def generate(self, prompt: Any = None, **options: Any) -> Any:
        """Continue a prompt, a list of prompts, or token ids. See `intermodal.generation.generate`.

        What a tokenizer returns is taken by keywords too: `generate(**tokenizer(texts), max_new_tokens=20)`.
        """
        from intermodal import generation
        from intermodal.generation.prompts import take_prompt

        return generation.generate(self, take_prompt(prompt, options), **options)

    def chat(self, messages: Any, **options: Any) -> Any:
        """Answer chat messages in the checkpoint's own template. See `intermodal.generation.chat`."""
        from intermodal import generation

        return generation.chat(self, messages, **options)
