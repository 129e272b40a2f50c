"""A GGUF file's metadata as the config.json of the same model, with an account of every `llama.*` key.

llama.cpp writes Mistral as the architecture `llama`, without a word of sliding windows; files by others may have them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from intermodal.api import ABSENT, GGUF_INERT, GGUF_RULES, GgufKeys, decoder_fields, fields

from intermodal_mistral.config import FULL, SLIDING

if TYPE_CHECKING:
    from intermodal.api import Checkpoint

LINEARS = ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down")
_WINDOW, _PATTERN = "attention.sliding_window", "attention.sliding_window_pattern"


def config_from_gguf(checkpoint: Checkpoint) -> dict[str, Any]:
    """The config.json that says what the metadata says, in the spelling of transformers 5.

    Raises:
        ConfigError: keys are missing, malformed, unknown, or say what this family cannot honour; all are named.
    """
    keys = GgufKeys(checkpoint, "llama")
    decoder = decoder_fields(keys)
    config = {
        "model_type": "mistral",
        "architectures": ["MistralForCausalLM"],
        **decoder,
        **_windows(keys, decoder["num_hidden_layers"]),
    }
    for name in LINEARS:
        if f"blk.0.{name}.bias" in checkpoint.tensors:
            keys.account.refuse(f"blk.0.{name}.bias", ABSENT, "linears have no biases in this family")
    keys.finish(GGUF_INERT, GGUF_RULES)
    return config


def _windows(keys: GgufKeys, layers: Any) -> dict[str, Any]:
    """`sliding_window`, and `layer_types` where layers differ: the pattern lists which of them have the window."""
    width = keys.account.read(fields.integer(0, 1 << 31), keys.prefix + _WINDOW, keys.take(_WINDOW, 0))
    pattern = keys.take(_PATTERN)
    if width is ABSENT or layers is ABSENT:
        return {"sliding_window": None}
    config: dict[str, Any] = {"sliding_window": width or None}
    if pattern is None or not width:
        return config
    if not isinstance(pattern, list) or len(pattern) != layers or not all(isinstance(item, bool) for item in pattern):
        keys.refuse(_PATTERN, pattern, f"expected true or false for each of {layers} layers")
        return config
    return config | {"layer_types": [SLIDING if windowed else FULL for windowed in pattern]}
