"""A GGUF file's metadata as the config.json of the same model, with an account of every `gemma3.*` key.

Key names and defaults are llama.cpp's (its loader's `load_hparams` and its converter for this architecture).
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

from intermodal.api import ABSENT, GGUF_INERT, GGUF_RULES, GgufKeys, Rule, decoder_fields, fields, one_of

from intermodal_gemma3.config import DEFAULT_PATTERN, FULL, SLIDING, by_pattern

if TYPE_CHECKING:
    from intermodal.api import Checkpoint

ATTENTION = ("attn_q", "attn_k", "attn_v", "attn_output")
LAYERS_OF_27B = 62
"""llama.cpp tells the one model by its layers whose queries are scaled by the share of a head in the hidden size."""

EMBEDDING = "gemma-embedding"
"""The architecture of files whose tokens see both ways, and which perhaps hold the linears of sentence vectors."""

_WINDOW, _PATTERN = "attention.sliding_window", "attention.sliding_window_pattern"
_RULES = {
    "attn_logit_softcapping": Rule(one_of(0.0), "attention scores are capped", "Load the original safetensors instead"),
}
_IN_VECTORS = ("pooling_type", *(f"dense_{number}_feat_{side}" for number in (2, 3) for side in ("in", "out")))
"""Keys of `EMBEDDING` that core reads, with the tensors that they describe, when it makes sentence vectors."""

_RANK = 4
_LOOKS_BOTH_WAYS = Rule(one_of(False), "attention only looks back", "Files of such models say gemma3")


def config_from_gguf(checkpoint: Checkpoint) -> dict[str, Any]:
    """The config.json that says what the metadata says, in the spelling of transformers 5.

    Raises:
        ConfigError: keys are missing, malformed, unknown, or say what this family cannot honour; all are named.
    """
    embeds = checkpoint.metadata["general.architecture"] == EMBEDDING
    keys = GgufKeys(checkpoint, EMBEDDING if embeds else "gemma3")
    config = decoder_fields(keys)
    cap = keys.number("final_logit_softcapping", 0.0, fields.real(least=0.0, most=1e9))
    local = keys.number("rope.freq_base_swa", 10000.0)
    windows = _windows(keys, config["num_hidden_layers"])
    sound = "rope_parameters" in config
    config |= {
        "model_type": "gemma3_text",
        "architectures": ["Gemma3TextModel" if embeds else "Gemma3ForCausalLM"],
        "use_bidirectional_attention": embeds,
        "hidden_activation": "gelu_pytorch_tanh",
        "attention_bias": keys.biased(ATTENTION),
        "final_logit_softcapping": cap or None,
        **windows,
    }
    if sound:
        config["query_pre_attn_scalar"] = config["head_dim"] if embeds else _scalar(config)
        config["rope_parameters"] = {
            FULL: config["rope_parameters"],
            SLIDING: {"rope_type": "default", "rope_theta": local},
        }
    rules = {**GGUF_RULES, **_RULES}
    if embeds:
        rules["attention.causal"] = _LOOKS_BOTH_WAYS
        _check_vectors(keys)
    keys.finish(GGUF_INERT, rules)
    return config


def _check_vectors(keys: GgufKeys) -> None:
    """Refuse a ranking model, and tell of linears that the file lacks: converters leave them out unless asked."""
    pooling, *_ = [keys.take(name) for name in _IN_VECTORS]
    if pooling == _RANK:
        keys.refuse("pooling_type", pooling, "the model ranks pairs of texts. Load the original safetensors instead")
    beside = keys.checkpoint.repository.has("modules.json")
    if pooling and not beside and "dense_2.weight" not in keys.checkpoint.tensors:
        warnings.warn(
            f"{keys.checkpoint.repository.uri} holds no dense_2 and dense_3. Where the original has such linears, as "
            "EmbeddingGemma does, sentence vectors differ from the original's; llama.cpp's converter writes them with "
            "--sentence-transformers-dense-modules.",
            stacklevel=2,
        )


def _scalar(config: dict[str, Any]) -> int:
    """What queries are scaled by: no key says it, so it is derived as llama.cpp does."""
    if config["num_hidden_layers"] == LAYERS_OF_27B:
        return config["hidden_size"] // config["num_attention_heads"]
    return config["head_dim"]


def _windows(keys: GgufKeys, layers: Any) -> dict[str, Any]:
    """`sliding_window` and `layer_types`; the pattern is a number, or a list of which layers have the window."""
    width = keys.account.read(fields.integer(0, 1 << 31), keys.prefix + _WINDOW, keys.take(_WINDOW, 0))
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
        every = keys.account.read(fields.integer(1, 1 << 31), keys.prefix + _PATTERN, pattern)
        kinds = [] if every is ABSENT else list(by_pattern(layers, every))
    return {"sliding_window": width, "layer_types": kinds}
