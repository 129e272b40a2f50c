"""A GGUF file's metadata as the config.json of the same model, with an account of every `gemma3.*` key.

Key names and defaults are llama.cpp's (its loader's `load_hparams` and its converter for this architecture).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from intermodal.api import GGUF_INERT, GGUF_RULES, GgufKeys, decoder_fields
from intermodal.config.accounting import ABSENT, Rule, one_of
from intermodal.config.fields import integer, real

from intermodal_gemma3.config import DEFAULT_PATTERN, FULL, SLIDING, by_pattern

if TYPE_CHECKING:
    from intermodal.api import Checkpoint

ATTENTION = ("attn_q", "attn_k", "attn_v", "attn_output")
LAYERS_OF_27B = 62
"""llama.cpp tells the one model by its layers whose queries are scaled by the share of a head in the hidden size."""

_WINDOW, _PATTERN = "attention.sliding_window", "attention.sliding_window_pattern"
_RULES = {
    "attn_logit_softcapping": Rule(one_of(0.0), "attention scores are capped", "Load the original safetensors instead"),
}


def config_from_gguf(checkpoint: Checkpoint) -> dict[str, Any]:
    """The config.json that says what the metadata says, in the spelling of transformers 5.

    Raises:
        ConfigError: keys are missing, malformed, unknown, or say what this family cannot honour; all are named.
    """
    keys = GgufKeys(checkpoint, "gemma3")
    fields = decoder_fields(keys)
    cap = keys.number("final_logit_softcapping", 0.0, real(least=0.0, most=1e9))
    local = keys.number("rope.freq_base_swa", 10000.0)
    windows = _windows(keys, fields["num_hidden_layers"])
    config = {
        "model_type": "gemma3_text",
        "architectures": ["Gemma3ForCausalLM"],
        **fields,
        "hidden_activation": "gelu_pytorch_tanh",
        "attention_bias": keys.biased(ATTENTION),
        "final_logit_softcapping": cap or None,
        **windows,
    }
    if "rope_parameters" in fields:
        config["query_pre_attn_scalar"] = _scalar(fields)
        config["rope_parameters"] = {
            FULL: fields["rope_parameters"],
            SLIDING: {"rope_type": "default", "rope_theta": local},
        }
    keys.finish(GGUF_INERT, {**GGUF_RULES, **_RULES})
    return config


def _scalar(fields: dict[str, Any]) -> int:
    """What queries are scaled by: no key says it, so it is derived as llama.cpp does."""
    if fields["num_hidden_layers"] == LAYERS_OF_27B:
        return fields["hidden_size"] // fields["num_attention_heads"]
    return fields["head_dim"]


def _windows(keys: GgufKeys, layers: Any) -> dict[str, Any]:
    """`sliding_window` and `layer_types`; the pattern is a number, or a list of which layers have the window."""
    width = keys.account.read(integer(0, 1 << 31), keys.prefix + _WINDOW, keys.take(_WINDOW, 0))
    pattern = keys.take(_PATTERN, DEFAULT_PATTERN)
    if ABSENT in (width, layers):
        return {}
    if not width:
        return {"sliding_window": None, "layer_types": [FULL] * layers}
    if isinstance(pattern, list):
        if len(pattern) != layers or not all(isinstance(item, bool) for item in pattern):
            keys.refuse(_PATTERN, pattern, f"expected true or false for each of {layers} layers")
            return {}
        kinds = [SLIDING if windowed else FULL for windowed in pattern]
    else:
        every = keys.account.read(integer(1, 1 << 31), keys.prefix + _PATTERN, pattern)
        kinds = [] if every is ABSENT else list(by_pattern(layers, every))
    return {"sliding_window": width, "layer_types": kinds}
