"""A GGUF file's metadata as the config.json of the same model, with an account of every `llama.*` key.

Key names and defaults are llama.cpp's (its loader's `load_hparams` and its converter for this architecture).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from intermodal.api import ABSENT, Account, Rule, fields, one_of, refusal

from intermodal_llama3.rope_divisors import llama3_parameters

if TYPE_CHECKING:
    from intermodal.api import Checkpoint, TensorInfo

PREFIX = "llama."
NO_TOKEN = 0xFFFFFFFF
"""How -1, "no such token", looks in an unsigned key."""

_SIZE = fields.integer(1, 1 << 31)
_POSITIVE = fields.real(above=0.0)

INERT = {
    "llama.vocab_size": "the rows of token_embd.weight are counted",
    "llama.tensor_data_layout": "it notes what the file was converted from",
    "llama.rope.scaling.finetuned": "it notes how the model was trained",
}
_EXPERTS = Rule(one_of(0), "the model has experts (Mixtral)", "A family that has mixtures of experts is needed")
_WINDOW = Rule(
    one_of(0), "attention has a sliding window, as in Mistral", 'Load with family="mistral", or from the original'
)
_YARN = Rule(one_of(1.0), "it changes yarn in a way that transformers lacks", "Load the original safetensors instead")
RULES = {
    "llama.attention.causal": Rule(one_of(True), "attention also looks ahead", "This family looks back only"),
    "llama.attention.scale": Rule(
        one_of(0.0), "attention is scaled by something else than head_dim ** -0.5", "This family is not scaled so"
    ),
    "llama.attention.sliding_window": _WINDOW,
    "llama.attention.sliding_window_pattern": _WINDOW,
    "llama.expert_count": _EXPERTS,
    "llama.expert_used_count": _EXPERTS,
    "llama.pooling_type": Rule(one_of(0), "the model pools embeddings", "Load the original safetensors instead"),
    "llama.rope.scaling.attn_factor": _YARN,
    "llama.rope.scaling.yarn_attn_factor": _YARN,
    "llama.rope.scaling.yarn_ext_factor": _YARN,
    "llama.rope.scaling.yarn_log_multiplier": Rule(one_of(0.0), _YARN.why, _YARN.fix),
}
HEAD_AND_ROTARY = (
    "attention.key_length",
    "attention.value_length",
    "rope.dimension_count",
    "rope.freq_base",
    "rope.scale_linear",
    "rope.scaling.type",
    "rope.scaling.factor",
    "rope.scaling.original_context_length",
    "rope.scaling.yarn_beta_fast",
    "rope.scaling.yarn_beta_slow",
)
ATTENTION = ("attn_q", "attn_k", "attn_v", "attn_output")
FEED_FORWARD = ("ffn_gate", "ffn_up", "ffn_down")


def config_from_gguf(checkpoint: Checkpoint) -> dict[str, Any]:
    """The config.json that says what the metadata says, in the spelling of transformers 5.

    Llama 3.1's stretched rotary embedding is no key but a tensor, `rope_freqs.weight`; it alone is read.

    Raises:
        ConfigError: keys are missing, malformed, unknown, or say what this family cannot honour; all are named.
    """
    metadata, tensors = checkpoint.metadata, checkpoint.tensors
    keys = {key: value for key, value in metadata.items() if key.startswith(PREFIX)}
    account = Account(keys, checkpoint.repository.uri, reference="")
    for name in HEAD_AND_ROTARY:
        account.take(PREFIX + name)
    config = {
        "model_type": "llama",
        "architectures": ["LlamaForCausalLM"],
        "vocab_size": _vocabulary(account, tensors),
        "hidden_size": _size(account, "embedding_length"),
        "intermediate_size": _size(account, "feed_forward_length"),
        "num_hidden_layers": _size(account, "block_count"),
        "num_attention_heads": (heads := _size(account, "attention.head_count")),
        "num_key_value_heads": _size(account, "attention.head_count_kv", heads),
        "max_position_embeddings": _size(account, "context_length"),
        "rms_norm_eps": _number(account, "attention.layer_norm_rms_epsilon", ABSENT, fields.real(least=0.0, most=1.0)),
        "attention_bias": _biased(account, tensors, ATTENTION),
        "mlp_bias": _biased(account, tensors, FEED_FORWARD),
        "tie_word_embeddings": "output.weight" not in tensors,
        "bos_token_id": _token(metadata, "bos"),
        "eos_token_id": _end_tokens(metadata),
        "pad_token_id": _token(metadata, "padding"),
    }
    if ABSENT not in config.values():
        config["head_dim"] = _head_dim(account, config)
        config["rope_parameters"] = _rope(account, checkpoint, config["head_dim"])
    account.sort_rest(INERT, RULES, strict=False)
    for key, value in account.foreign.items():
        account.refuse(key, value, "unknown key, which may change the model. Load the original safetensors instead")
    if account.problems:
        raise refusal(account.file, account.problems)
    return config


def _size(account: Account, name: str, default: Any = ABSENT) -> Any:
    """A positive integer. Keys that may differ from layer to layer are lists; only equal values are honoured."""
    value = account.take(PREFIX + name, default)
    if isinstance(value, list):
        if not value or any(item != value[0] for item in value):
            account.refuse(PREFIX + name, value, "layers that differ from each other are not supported")
            return ABSENT
        value = value[0]
    return _checked(account, name, value, _SIZE)


def _number(account: Account, name: str, default: Any, check: fields.Check = _POSITIVE) -> Any:
    """A number, which the file holds in float32: the shortest decimal that rounds to it (1e-05, not 9.99…e-06)."""
    value = _checked(account, name, account.take(PREFIX + name, default), check)
    return value if value is ABSENT else float(str(np.float32(value)))


def _checked(account: Account, name: str, value: Any, check: fields.Check) -> Any:
    if value is not ABSENT:
        return account.read(check, PREFIX + name, value)
    if PREFIX + name not in account.raw:
        account.refuse(
            PREFIX + name, ABSENT, "missing; the file is damaged, or its converter too old: convert it again"
        )
    return ABSENT


def _vocabulary(account: Account, tensors: Mapping[str, TensorInfo]) -> Any:
    embedding = tensors.get("token_embd.weight")
    if embedding is None or len(embedding.shape) != 2:
        account.refuse("token_embd.weight", ABSENT, "expected a tensor of shape (vocabulary, hidden)")
        return ABSENT
    return embedding.shape[0]


def _biased(account: Account, tensors: Mapping[str, TensorInfo], names: tuple[str, ...]) -> bool:
    """Whether these linears have biases: all of them or none, as transformers' config can say no other."""
    present = [name for name in names if f"blk.0.{name}.bias" in tensors]
    if present and len(present) < len(names):
        lacking = ", ".join(name for name in names if name not in present)
        account.refuse(f"blk.0.{present[0]}.bias", ABSENT, f"only some of these have a bias; {lacking} have none")
    return bool(present)


def _token(metadata: Mapping[str, Any], name: str) -> Any:
    value = metadata.get(f"tokenizer.ggml.{name}_token_id")
    return None if value == NO_TOKEN else value


def _end_tokens(metadata: Mapping[str, Any]) -> Any:
    """Every token that ends a text or a turn: the end of text, of turn and of message."""
    found: list[Any] = []
    for name in ("eos", "eot", "eom"):
        value = _token(metadata, name)
        if value is not None and value not in found:
            found.append(value)
    return found if len(found) > 1 else found[0] if found else None


def _head_dim(account: Account, config: Mapping[str, Any]) -> Any:
    derived = max(1, config["hidden_size"] // config["num_attention_heads"])
    head_dim = _size(account, "attention.key_length", derived)
    for name, why in (
        ("attention.value_length", "values as wide as keys are needed"),
        ("rope.dimension_count", "every dimension of a head is rotated in this family"),
    ):
        value = _size(account, name, head_dim)
        if ABSENT not in (value, head_dim) and value != head_dim:
            account.refuse(PREFIX + name, value, f"differs from head_dim = {head_dim}, and {why}")
    return head_dim


def _rope(account: Account, checkpoint: Checkpoint, head_dim: Any) -> dict[str, Any]:
    """`rope_parameters` from the rotary keys, or from the tensor of divisors."""
    rope: dict[str, Any] = {"rope_type": "default", "rope_theta": _number(account, "rope.freq_base", 10000.0)}
    # llama.cpp takes a factor without a type as linear, 0 as no factor, and reads an older name of it.
    kind = account.take("llama.rope.scaling.type", "linear")
    older = _number(account, "rope.scale_linear", 0.0, fields.real(least=0.0))
    factor = _number(account, "rope.scaling.factor", older, fields.real(least=0.0))
    context = _size(account, "rope.scaling.original_context_length", account.raw["llama.context_length"])
    betas = {
        beta: _number(account, f"rope.scaling.yarn_{beta}", 0.0)
        for beta in ("beta_fast", "beta_slow")
        if f"llama.rope.scaling.yarn_{beta}" in account.raw
    }
    if kind not in ("none", "linear", "yarn"):
        text = "this kind of rotary embedding is not supported; none, linear, yarn are"
        account.refuse("llama.rope.scaling.type", kind, text)
    for name in ("rope_factors_long.weight", "rope_factors_short.weight"):
        if name in checkpoint.tensors:
            account.refuse(name, ABSENT, "rotary embeddings of the kind longrope are not supported")
    if account.problems:
        return rope
    stretched = kind != "none" and factor not in (0.0, 1.0)
    if "rope_freqs.weight" in checkpoint.tensors:
        if stretched:
            text = f"stretches positions, as llama.rope.scaling ({kind}) does; only one of the two is supported"
            account.refuse("rope_freqs.weight", ABSENT, text)
            return rope
        return rope | _from_divisors(account, checkpoint, rope["rope_theta"], head_dim)
    if kind == "yarn" and factor:
        return rope | {"rope_type": "yarn", "factor": factor, "original_max_position_embeddings": context, **betas}
    return rope | {"rope_type": "linear", "factor": factor} if stretched else rope


def _from_divisors(account: Account, checkpoint: Checkpoint, theta: float, head_dim: int) -> dict[str, Any]:
    shape = checkpoint.tensors["rope_freqs.weight"].shape
    if shape != (head_dim // 2,):
        account.refuse("rope_freqs.weight", ABSENT, f"has shape {shape}, expected ({head_dim // 2},)")
        return {}
    divisors = np.asarray(checkpoint.read("rope_freqs.weight"), np.float32)
    found = llama3_parameters(divisors, theta, head_dim)
    if found is None:
        text = "its divisors are not those of Llama 3.1's rotary embedding, whatever its factor and original context"
        account.refuse("rope_freqs.weight", ABSENT, f"{text}. Load the original safetensors instead")
    return found or {}
