"""Reading a GGUF file's metadata as a config.json: what decoders of several families have in common.

Key names and defaults are llama.cpp's (its loader's `load_hparams` and its converters). A family says which
architecture it reads, adds what is its own, and finishes the account, so that no key is passed over.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from intermodal.config.accounting import ABSENT, Account, Rule, one_of, refusal
from intermodal.config.fields import Check, integer, real

if TYPE_CHECKING:
    from intermodal.checkpoints.base import Checkpoint

NO_TOKEN = 0xFFFFFFFF
"""How -1, "no such token", looks in an unsigned key."""

SIZE = integer(1, 1 << 31)
POSITIVE = real(above=0.0)

GGUF_INERT = {
    "vocab_size": "the rows of token_embd.weight are counted",
    "tensor_data_layout": "it notes what the file was converted from",
    "rope.scaling.finetuned": "it notes how the model was trained",
}
"""Keys without effect on a decoder, without the prefix of the architecture, and why."""

_ORIGINAL = "Load the original safetensors instead"
_EXPERTS = Rule(one_of(0), "the model has a mixture of experts", "A family that has them is needed")
_YARN = Rule(one_of(1.0), "it changes yarn in a way that transformers lacks", _ORIGINAL)
GGUF_RULES = {
    "attention.causal": Rule(one_of(True), "attention also looks ahead", "This family looks back only"),
    "attention.scale": Rule(
        one_of(0.0), "attention is scaled by something else than head_dim ** -0.5", "This family is not scaled so"
    ),
    "expert_count": _EXPERTS,
    "expert_used_count": _EXPERTS,
    "pooling_type": Rule(one_of(0), "the model pools embeddings", _ORIGINAL),
    "rope.scaling.attn_factor": _YARN,
    "rope.scaling.yarn_attn_factor": _YARN,
    "rope.scaling.yarn_ext_factor": _YARN,
    "rope.scaling.yarn_log_multiplier": Rule(one_of(0.0), _YARN.why, _YARN.fix),
}
"""Keys without effect on a decoder for some values only, without the prefix of the architecture."""


class GgufKeys:
    """The keys of one architecture in a GGUF file, and an account of what became of each.

    Args:
        checkpoint: opened.
        architecture: what the keys begin with, `general.architecture`.
    """

    def __init__(self, checkpoint: Checkpoint, architecture: str) -> None:
        self.checkpoint = checkpoint
        self.prefix = f"{architecture}."
        keys = {key: value for key, value in checkpoint.metadata.items() if key.startswith(self.prefix)}
        self.account = Account(keys, checkpoint.repository.uri, reference="")

    def __contains__(self, name: str) -> bool:
        return self.prefix + name in self.account.raw

    def take(self, name: str, default: Any = None) -> Any:
        """The value of a key, which counts as read from now on; `default` where it is absent."""
        return self.account.take(self.prefix + name, default)

    def refuse(self, name: str, value: Any, text: str) -> None:
        """Note that a key's value cannot be honoured; reading goes on, so that one error can name them all."""
        self.account.refuse(self.prefix + name, value, text)

    def size(self, name: str, default: Any = ABSENT) -> Any:
        """A positive integer. Keys that may differ from layer to layer are lists; only equal values are honoured."""
        value = self.take(name, default)
        if isinstance(value, list):
            if not value or any(item != value[0] for item in value):
                self.refuse(name, value, "layers that differ from each other are not supported")
                return ABSENT
            value = value[0]
        return self._checked(name, value, SIZE)

    def number(self, name: str, default: Any = ABSENT, check: Check = POSITIVE) -> Any:
        """A number, which the file holds in float32: the shortest decimal that rounds to it (1e-05, not 9.99…e-06)."""
        import numpy as np

        value = self._checked(name, self.take(name, default), check)
        return value if value is ABSENT else float(str(np.float32(value)))

    def token(self, name: str) -> Any:
        """Id of a token of the file's own vocabulary (`"bos"`, `"eos"`, `"padding"`), or None."""
        value = self.checkpoint.metadata.get(f"tokenizer.ggml.{name}_token_id")
        return None if value == NO_TOKEN else value

    def biased(self, names: tuple[str, ...]) -> bool:
        """Whether these linears of a block have biases: all of them or none, as a config can say no other."""
        tensors = self.checkpoint.tensors
        present = [name for name in names if f"blk.0.{name}.bias" in tensors]
        if present and len(present) < len(names):
            lacking = ", ".join(name for name in names if name not in present)
            text = f"only some of these have a bias; {lacking} have none"
            self.account.refuse(f"blk.0.{present[0]}.bias", ABSENT, text)
        return bool(present)

    def finish(self, inert: Mapping[str, str], rules: Mapping[str, Rule]) -> None:
        """Sort the keys that were not taken, by tables like `GGUF_INERT` and `GGUF_RULES`; every other key is refused.

        Raises:
            ConfigError: names every key that was refused.
        """
        self.account.sort_rest(self._prefixed(inert), self._prefixed(rules), strict=False)
        for key, value in self.account.foreign.items():
            self.account.refuse(key, value, f"unknown key, which may change the model. {_ORIGINAL}")
        if self.account.problems:
            raise refusal(self.account.file, self.account.problems)

    def _prefixed(self, table: Mapping[str, Any]) -> dict[str, Any]:
        return {self.prefix + name: value for name, value in table.items()}

    def _checked(self, name: str, value: Any, check: Check) -> Any:
        if value is not ABSENT:
            return self.account.read(check, self.prefix + name, value)
        if name not in self:
            self.refuse(name, ABSENT, "missing; the file is damaged, or its converter too old: convert it again")
        return ABSENT


def decoder_fields(keys: GgufKeys) -> dict[str, Any]:
    """The fields of a decoder with rotary embeddings and RMS norms: its sizes, ties and special tokens.

    `head_dim` and `rope_parameters` are there only where all the rest is sound.
    """
    from intermodal.config.gguf_rope import ROTARY, rope_parameters

    for name in ("attention.key_length", "attention.value_length", *ROTARY):
        keys.take(name)
    config = {
        "vocab_size": _vocabulary(keys),
        "hidden_size": keys.size("embedding_length"),
        "intermediate_size": keys.size("feed_forward_length"),
        "num_hidden_layers": keys.size("block_count"),
        "num_attention_heads": (heads := keys.size("attention.head_count")),
        "num_key_value_heads": keys.size("attention.head_count_kv", heads),
        "max_position_embeddings": keys.size("context_length"),
        "rms_norm_eps": keys.number("attention.layer_norm_rms_epsilon", check=real(least=0.0, most=1.0)),
        "tie_word_embeddings": "output.weight" not in keys.checkpoint.tensors,
        "bos_token_id": keys.token("bos"),
        "eos_token_id": _end_tokens(keys),
        "pad_token_id": keys.token("padding"),
    }
    if ABSENT not in config.values():
        config["head_dim"] = _head_dim(keys, config)
        config["rope_parameters"] = rope_parameters(keys, config["head_dim"])
    return config


def _vocabulary(keys: GgufKeys) -> Any:
    embedding = keys.checkpoint.tensors.get("token_embd.weight")
    if embedding is None or len(embedding.shape) != 2:
        keys.account.refuse("token_embd.weight", ABSENT, "expected a tensor of shape (vocabulary, hidden)")
        return ABSENT
    return embedding.shape[0]


def _end_tokens(keys: GgufKeys) -> Any:
    """Every token that ends a text or a turn: the end of text, of turn and of message."""
    found: list[Any] = []
    for name in ("eos", "eot", "eom"):
        value = keys.token(name)
        if value is not None and value not in found:
            found.append(value)
    return found if len(found) > 1 else found[0] if found else None


def _head_dim(keys: GgufKeys, config: Mapping[str, Any]) -> Any:
    derived = max(1, config["hidden_size"] // config["num_attention_heads"])
    head_dim = keys.size("attention.key_length", derived)
    for name, why in (
        ("attention.value_length", "values as wide as keys are needed"),
        ("rope.dimension_count", "every dimension of a head is rotated in this family"),
    ):
        value = keys.size(name, head_dim)
        if ABSENT not in (value, head_dim) and value != head_dim:
            keys.refuse(name, value, f"differs from head_dim = {head_dim}, and {why}")
    return head_dim
