"""A GGUF file's metadata as the config.json of the same model, with an account of every `bert.*` key.

Key names and defaults are llama.cpp's (its loader's `load_hparams` and its converter for this architecture). Files of
XLM-RoBERTa have this architecture too: their table of positions was cut to begin at the first one that is used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from intermodal.api import ABSENT, GgufKeys, Rule, fields, one_of

if TYPE_CHECKING:
    from intermodal.api import Checkpoint

RANK = 4
"""The pooling type of files with a classifier."""

ORIGINAL = "Load the original safetensors instead"

INERT = {
    "vocab_size": "the rows of token_embd.weight are counted",
    "tensor_data_layout": "it notes what the file was converted from",
}
RULES = {
    "classifier.pooling_type": Rule(
        one_of(2), "the classifier does not read the first token", f"This family's does. {ORIGINAL}"
    ),
}


def config_from_gguf(checkpoint: Checkpoint) -> dict[str, Any]:
    """The config.json that says what the metadata says.

    The activation stands in no key. It is taken to be `gelu`, as in every published BERT; llama.cpp itself computes its
    tanh form.

    Raises:
        ConfigError: keys are missing, malformed, unknown, or say what this family cannot honour; all are named.
    """
    keys = GgufKeys(checkpoint, "bert")
    config = {
        "model_type": "bert",
        "architectures": ["BertModel"],
        "vocab_size": _rows(keys, "token_embd.weight"),
        "hidden_size": (hidden := keys.size("embedding_length")),
        "intermediate_size": keys.size("feed_forward_length"),
        "num_hidden_layers": keys.size("block_count"),
        "num_attention_heads": (heads := keys.size("attention.head_count")),
        "max_position_embeddings": (positions := _rows(keys, "position_embd.weight")),
        "type_vocab_size": _rows(keys, "token_types.weight"),
        "layer_norm_eps": keys.number("attention.layer_norm_epsilon", check=fields.real(least=0.0, most=1.0)),
        "hidden_act": "gelu",
        "pad_token_id": keys.token("padding"),
    }
    _check_attention(keys, hidden, heads)
    context = keys.size("context_length")
    if ABSENT not in (context, positions) and context != positions:
        keys.refuse("context_length", context, f"position_embd.weight has {positions} rows; expected as many")
    config.update(_classifier(keys))
    keys.finish(INERT, RULES)
    return config


def _rows(keys: GgufKeys, name: str) -> Any:
    info = keys.checkpoint.tensors.get(name)
    if info is None or len(info.shape) != 2:
        keys.account.refuse(name, ABSENT, "expected a tensor of shape (rows, hidden)")
        return ABSENT
    return info.shape[0]


def _check_attention(keys: GgufKeys, hidden: Any, heads: Any) -> None:
    """Attention looks both ways, all heads have keys of their own, and are as wide as the model divided by them."""
    # llama.cpp takes a file without this key to look back only.
    causal = keys.take("attention.causal", ABSENT)
    if causal is not False:
        keys.refuse("attention.causal", causal, "expected false: this family looks both ways")
    if ABSENT in (hidden, heads):
        return
    for name, expected in (
        ("attention.head_count_kv", heads),
        ("attention.key_length", hidden // heads),
        ("attention.value_length", hidden // heads),
    ):
        value = keys.size(name, expected)
        if value not in (ABSENT, expected):
            keys.refuse(name, value, f"expected {expected}; other attention is not supported")


def _classifier(keys: GgufKeys) -> dict[str, Any]:
    """Architecture and labels of a file with a classifier on the pooled first token; nothing for any other."""
    tensors = keys.checkpoint.tensors
    kind = keys.account.read(fields.integer(0, RANK), "bert.pooling_type", keys.take("pooling_type", 0))
    names = keys.take("classifier.output_labels")
    if "cls.output.weight" not in tensors:
        if kind == RANK:
            keys.refuse("pooling_type", kind, f"it ranks texts, but there is no cls.output.weight. {ORIGINAL}")
        return {}
    if "cls.weight" not in tensors:
        text = "llama.cpp's converter drops the pooler that this classifier was trained on, so its results differ"
        keys.account.refuse("cls.output.weight", ABSENT, f"{text}. {ORIGINAL}")
    count = _rows(keys, "cls.output.weight")
    found = {"architectures": ["BertForSequenceClassification"], "num_labels": count}
    if names is None or count is ABSENT:
        return found
    if not isinstance(names, list) or len(names) != count or count > fields.MOST_LABELS:
        keys.refuse("classifier.output_labels", names, f"cls.output.weight has {count} rows")
        return found
    return {**found, "id2label": {str(index): str(name) for index, name in enumerate(names)}}
