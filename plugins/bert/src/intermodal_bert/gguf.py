"""A GGUF file's metadata as the config.json of the same model, with an account of every `bert.*` key.

Key names and defaults are llama.cpp's (its loader's `load_hparams` and its converter for this architecture). Files of
XLM-RoBERTa have this architecture too: their table of positions was cut to begin at the first one that is used.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from intermodal.config import Rule, one_of
from intermodal.config.accounting import ABSENT, Account, refusal
from intermodal.config.fields import MOST_LABELS, Check, integer, real

if TYPE_CHECKING:
    from intermodal.api import Checkpoint, TensorInfo

PREFIX = "bert."
RANK = 4
"""The pooling type of files with a classifier."""

ORIGINAL = "Load the original safetensors instead"

INERT = {
    "bert.vocab_size": "the rows of token_embd.weight are counted",
    "bert.tensor_data_layout": "it notes what the file was converted from",
}
RULES = {
    "bert.classifier.pooling_type": Rule(
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
    tensors = checkpoint.tensors
    keys = {key: value for key, value in checkpoint.metadata.items() if key.startswith(PREFIX)}
    account = Account(keys, checkpoint.repository.uri, reference="")
    hidden, heads = _size(account, "embedding_length"), _size(account, "attention.head_count")
    config = {
        "model_type": "bert",
        "architectures": ["BertModel"],
        "vocab_size": _rows(account, tensors, "token_embd.weight"),
        "hidden_size": hidden,
        "intermediate_size": _size(account, "feed_forward_length"),
        "num_hidden_layers": _size(account, "block_count"),
        "num_attention_heads": heads,
        "max_position_embeddings": _rows(account, tensors, "position_embd.weight"),
        "type_vocab_size": _rows(account, tensors, "token_types.weight"),
        "layer_norm_eps": _number(account, "attention.layer_norm_epsilon", real(least=0.0, most=1.0)),
        "hidden_act": "gelu",
        "pad_token_id": checkpoint.metadata.get("tokenizer.ggml.padding_token_id", 0),
    }
    _check_attention(account, hidden, heads)
    _check_context(account, config["max_position_embeddings"])
    config.update(_classifier(account, tensors))
    account.sort_rest(INERT, RULES, strict=False)
    for key, value in account.foreign.items():
        account.refuse(key, value, f"unknown key, which may change the model. {ORIGINAL}")
    if account.problems:
        raise refusal(account.file, account.problems)
    return config


def _take(account: Account, name: str, check: Check) -> Any:
    """The value of a key that has to be there, or ABSENT after noting what is wrong with it."""
    if PREFIX + name in account.raw:
        return account.read(check, PREFIX + name, account.take(PREFIX + name))
    account.refuse(PREFIX + name, ABSENT, "missing; the file is damaged, or its converter too old: convert it again")
    return ABSENT


def _size(account: Account, name: str) -> Any:
    return _take(account, name, integer(1, 1 << 31))


def _number(account: Account, name: str, check: Check) -> Any:
    """A number, which the file holds in float32: the shortest decimal that rounds to it (1e-12, not 9.99…e-13)."""
    value = _take(account, name, check)
    return value if value is ABSENT else float(str(np.float32(value)))


def _rows(account: Account, tensors: Mapping[str, TensorInfo], name: str) -> Any:
    info = tensors.get(name)
    if info is None or len(info.shape) != 2:
        account.refuse(name, ABSENT, "expected a tensor of shape (rows, hidden)")
        return ABSENT
    return info.shape[0]


def _check_attention(account: Account, hidden: Any, heads: Any) -> None:
    """Attention looks both ways, all heads have keys of their own, and are as wide as the model divided by them."""
    # llama.cpp takes a file without this key to look back only.
    if account.take("bert.attention.causal", True) is not False:
        account.refuse("bert.attention.causal", account.raw.get("bert.attention.causal", ABSENT), "expected false")
    if ABSENT in (hidden, heads):
        return
    for name, expected in (
        ("attention.head_count_kv", heads),
        ("attention.key_length", hidden // heads),
        ("attention.value_length", hidden // heads),
    ):
        value = account.take(PREFIX + name, expected)
        if value != expected:
            account.refuse(PREFIX + name, value, f"expected {expected}; other attention is not supported")


def _check_context(account: Account, positions: Any) -> None:
    context = _size(account, "context_length")
    if ABSENT not in (context, positions) and context != positions:
        account.refuse(
            "bert.context_length", context, f"position_embd.weight has {positions} rows, where both are the same"
        )


def _classifier(account: Account, tensors: Mapping[str, TensorInfo]) -> dict[str, Any]:
    """Architecture and labels of a file with a classifier on the pooled first token; nothing for any other."""
    kind = account.read(integer(0, RANK), "bert.pooling_type", account.take("bert.pooling_type", 0))
    names = account.take("bert.classifier.output_labels")
    if "cls.output.weight" not in tensors:
        if kind == RANK:
            account.refuse("bert.pooling_type", kind, f"it ranks texts, but there is no cls.output.weight. {ORIGINAL}")
        return {}
    if "cls.weight" not in tensors:
        text = "llama.cpp's converter drops the pooler that this classifier was trained on, so its results differ"
        account.refuse("cls.output.weight", ABSENT, f"{text}. {ORIGINAL}")
    count = _rows(account, tensors, "cls.output.weight")
    found = {"architectures": ["BertForSequenceClassification"], "num_labels": count}
    if names is None or count is ABSENT:
        return found
    if not isinstance(names, list) or len(names) != count or count > MOST_LABELS:
        account.refuse("bert.classifier.output_labels", names, f"cls.output.weight has {count} rows")
        return found
    return {**found, "id2label": {str(index): str(name) for index, name in enumerate(names)}}
