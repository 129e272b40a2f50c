"""A GGUF file's metadata as the config.json of the same model, with an account of every `llama.*` key."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from intermodal.api import GGUF_INERT, GGUF_RULES, GgufKeys, decoder_fields
from intermodal.config import Rule, one_of

if TYPE_CHECKING:
    from intermodal.api import Checkpoint

_WINDOW = Rule(
    one_of(0), "attention has a sliding window, as in Mistral", 'Load with family="mistral", or from the original'
)
RULES = {
    **GGUF_RULES,
    "attention.sliding_window": _WINDOW,
    "attention.sliding_window_pattern": _WINDOW,
}
ATTENTION = ("attn_q", "attn_k", "attn_v", "attn_output")
FEED_FORWARD = ("ffn_gate", "ffn_up", "ffn_down")


def config_from_gguf(checkpoint: Checkpoint) -> dict[str, Any]:
    """The config.json that says what the metadata says, in the spelling of transformers 5.

    Llama 3.1's stretched rotary embedding is no key but a tensor, `rope_freqs.weight`; it alone is read.

    Raises:
        ConfigError: keys are missing, malformed, unknown, or say what this family cannot honour; all are named.
    """
    keys = GgufKeys(checkpoint, "llama")
    config = {
        "model_type": "llama",
        "architectures": ["LlamaForCausalLM"],
        "attention_bias": keys.biased(ATTENTION),
        "mlp_bias": keys.biased(FEED_FORWARD),
        **decoder_fields(keys),
    }
    keys.finish(GGUF_INERT, RULES)
    return config
