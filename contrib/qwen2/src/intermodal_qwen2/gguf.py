"""A GGUF file's metadata as the config.json of the same model, with an account of every `qwen2.*` key.

llama.cpp writes Qwen2 without a word of sliding windows: no published checkpoint uses them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from intermodal.api import GGUF_INERT, GGUF_RULES, GgufKeys, decoder_fields

if TYPE_CHECKING:
    from intermodal.api import Checkpoint


def config_from_gguf(checkpoint: Checkpoint) -> dict[str, Any]:
    """The config.json that says what the metadata says, in the spelling of transformers 5.

    Raises:
        ConfigError: keys are missing, malformed, unknown, or say what this family cannot honour; all are named.
    """
    keys = GgufKeys(checkpoint, "qwen2")
    config = {"model_type": "qwen2", "architectures": ["Qwen2ForCausalLM"], **decoder_fields(keys)}
    keys.finish(GGUF_INERT, GGUF_RULES)
    return config
