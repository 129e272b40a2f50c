"""A params.json, as it lies beside consolidated files, as the config.json of the same model.

Key names and defaults are those of mistral-inference's TransformerArgs; sliding windows, yarn and the context length,
of which it knows nothing, are read as vLLM does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from intermodal.api import ABSENT, Account, Rule, fields, one_of, refusal

from intermodal_mistral.config import DEFAULT_CONTEXT, FULL, SLIDING

if TYPE_CHECKING:
    from intermodal.api import Checkpoint

_SIZE = fields.integer(1, 1 << 31)
_POSITIVE = fields.real(above=0.0)
_NONE = one_of(None, {})
_HF = "Load the Hugging Face form of the same model instead"

INERT = {
    "model_type": "it chose this family",
    "architectures": "the tensors say what the model is",
    "dtype": "the dtype is read from the tensors",
    "max_batch_size": "it sizes the buffers of another program",
    "max_seq_len": "it sizes the buffers of another program",
}
RULES = {
    "moe": Rule(_NONE, "the model has a mixture of experts", "A family that has them is needed"),
    "vision_encoder": Rule(_NONE, "the model has an image encoder", "A family that has one is needed"),
    "multimodal": Rule(_NONE, "the model reads more than text", "A family that does is needed"),
    "quantization": Rule(_NONE, "the weights are stored quantised, in a format not read here", _HF),
    "lora": Rule(_NONE, "the weights are an adapter", "Load the model that it was trained on"),
    "llama_4_scaling": Rule(_NONE, "queries are scaled by their position", "A family that does so is needed"),
    "q_lora_rank": Rule(one_of(None), "attention is latent", "A family that has it is needed"),
    "causal": Rule(one_of(True), "every token then sees the ones after it", "This family looks back only"),
    "use_biases": Rule(one_of(False), "linears have biases", "This family has none"),
    "activation": Rule(one_of("silu"), "the feed-forward is gated by another function", "This family has silu"),
}


def config_from_params(checkpoint: Checkpoint) -> dict[str, Any]:
    """The config.json that says what params.json says, in the spelling of transformers 5.

    Raises:
        ConfigError: keys are missing, malformed, unknown, or say what this family cannot honour; all are named.
    """
    account = Account(checkpoint.metadata, f"params.json of {checkpoint.repository.uri}", reference="")
    config: dict[str, Any] = {
        "model_type": "mistral",
        "architectures": ["MistralForCausalLM"],
        "vocab_size": _taken(account, "vocab_size", _SIZE),
        "hidden_size": _taken(account, "dim", _SIZE),
        "intermediate_size": _taken(account, "hidden_dim", _SIZE),
        "num_hidden_layers": (layers := _taken(account, "n_layers", fields.integer(1, 1 << 12))),
        "num_attention_heads": _taken(account, "n_heads", _SIZE),
        "num_key_value_heads": _taken(account, "n_kv_heads", _SIZE),
        "head_dim": _taken(account, "head_dim", _SIZE),
        "rms_norm_eps": _taken(account, "norm_eps", fields.real(least=0.0, most=1.0)),
        "max_position_embeddings": _taken(account, "max_position_embeddings", _SIZE, DEFAULT_CONTEXT),
        "tie_word_embeddings": _taken(account, "tied_embeddings", fields.BOOLEAN, False),
    }
    config |= _windows(account, layers)
    config["rope_parameters"] = _rope(account, windowed=config["sliding_window"] is not None)
    account.sort_rest(INERT, RULES, strict=False)
    for key, value in account.foreign.items():
        account.refuse(key, value, f"unknown key, which may change the model. {_HF}")
    if account.problems:
        raise refusal(account.file, account.problems)
    return config


def _taken(account: Account, key: str, check: fields.Check, default: Any = ABSENT) -> Any:
    value = account.take(key, default)
    if key in account.raw:
        return account.read(check, key, value)
    if value is ABSENT:
        account.refuse(key, ABSENT, "missing, and nothing else says it. Download the file again")
    return value


def _windows(account: Account, layers: Any) -> dict[str, Any]:
    """`sliding_window` and `layer_types`: one number is for all layers, a list repeats over them, null being none."""
    given = account.take("sliding_window")
    pattern = given if isinstance(given, list) else [given]
    sizes = {account.read(_SIZE.or_null(), "sliding_window", value) for value in pattern[:4096]}
    if ABSENT in sizes or layers is ABSENT:
        return {"sliding_window": None}
    widths = sizes - {None}
    if len(widths) > 1 or not pattern or layers % len(pattern):
        text = f"expected one width, and null where there is none, for a divisor of the {layers} layers"
        account.refuse("sliding_window", given, text)
    kinds = [FULL if value is None else SLIDING for value in pattern] * (layers // max(1, len(pattern)))
    window = next(iter(widths), None)
    return {"sliding_window": window, "layer_types": kinds} if len(sizes) > 1 else {"sliding_window": window}


def _rope(account: Account, *, windowed: bool) -> dict[str, Any]:
    # Published files without the key have windows and are of 1e4; for others programs assume different values.
    theta = _taken(account, "rope_theta", _POSITIVE, 10000.0 if windowed else ABSENT)
    rope: dict[str, Any] = {"rope_type": "default", "rope_theta": theta}
    yarn = account.take("yarn")
    if yarn is None:
        return rope
    known = {"factor", "original_max_position_embeddings", "beta", "alpha", "apply_scale"}
    if (
        not isinstance(yarn, dict)
        or set(yarn) - known
        or not {"factor", "original_max_position_embeddings"} <= set(yarn)
    ):
        account.refuse("yarn", yarn, f"expected an object of {', '.join(sorted(known))}")
        return rope
    rope |= {"rope_type": "yarn"}
    for key, name in (("factor", "factor"), ("beta", "beta_fast"), ("alpha", "beta_slow")):
        if key in yarn:
            rope[name] = account.read(_POSITIVE, f"yarn.{key}", yarn[key])
    context = yarn["original_max_position_embeddings"]
    rope["original_max_position_embeddings"] = account.read(_SIZE, "yarn.original_max_position_embeddings", context)
    if not account.read(fields.BOOLEAN, "yarn.apply_scale", yarn.get("apply_scale", True)):
        rope["attention_factor"] = 1.0
    return rope
