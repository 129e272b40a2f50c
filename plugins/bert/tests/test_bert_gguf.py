"""BERT from GGUF files that the gguf package writes with llama.cpp's names, against the model they were made from."""

from pathlib import Path
from typing import Any

import intermodal
import numpy as np
import pytest
from intermodal.errors import ConfigError, TaskError
from intermodal.testing.reference import assert_close, make_reference, reference_outputs

gguf = pytest.importorskip("gguf")
pytest.importorskip("intermodal_gguf")
torch = pytest.importorskip("torch")

IDS = np.random.default_rng(8).integers(5, 32, (2, 12)).astype("int32")
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcdefghijklmnopqrstuvwxyz", "##a"]
TOP = {
    "embeddings.word_embeddings": "token_embd",
    "embeddings.position_embeddings": "position_embd",
    "embeddings.token_type_embeddings": "token_types",
    "embeddings.LayerNorm": "token_embd_norm",
    "pooler.dense": "cls",
    "classifier": "cls.output",
}
BLOCK = {
    "attention.self.query": "attn_q",
    "attention.self.key": "attn_k",
    "attention.self.value": "attn_v",
    "attention.output.dense": "attn_output",
    "attention.output.LayerNorm": "attn_output_norm",
    "intermediate.dense": "ffn_up",
    "output.dense": "ffn_down",
    "output.LayerNorm": "layer_output_norm",
}


def file_name_of(name: str) -> str:
    """llama.cpp's name of a tensor of transformers."""
    module, _, suffix = name.removeprefix("bert.").rpartition(".")
    if module.startswith("encoder.layer."):
        number, _, rest = module.removeprefix("encoder.layer.").partition(".")
        return f"blk.{number}.{BLOCK[rest]}.{suffix}"
    return f"{TOP[module]}.{suffix}"


@pytest.fixture(scope="module")
def reference(tiny):
    return make_reference("BertForSequenceClassification", {**tiny, "vocab_size": len(WORDS), "num_labels": 3})


@pytest.fixture
def write(reference, tmp_path):
    """Writes a file as llama.cpp's converter does. Keys of None are left out, and tensors that begin with `without`."""

    def written(keys: dict[str, Any] | None = None, without: tuple[str, ...] = ("cls",)) -> Path:
        path = tmp_path / "bert.gguf"
        writer = gguf.GGUFWriter(path, "bert")
        values: dict[str, Any] = {
            "bert.block_count": 2,
            "bert.context_length": 40,
            "bert.embedding_length": 48,
            "bert.feed_forward_length": 80,
            "bert.attention.head_count": 4,
            "bert.attention.layer_norm_epsilon": 1e-12,
            "bert.attention.causal": False,
            "bert.pooling_type": 1,
            "tokenizer.ggml.token_type_count": 2,
            "tokenizer.ggml.bos_token_id": 2,
            "tokenizer.ggml.eos_token_id": 3,
            "tokenizer.ggml.cls_token_id": 2,
            "tokenizer.ggml.seperator_token_id": 3,
            "tokenizer.ggml.unknown_token_id": 1,
            "tokenizer.ggml.padding_token_id": 0,
            "tokenizer.ggml.mask_token_id": 4,
        }
        for key, value in (values | (keys or {})).items():
            add = {bool: writer.add_bool, int: writer.add_uint32, float: writer.add_float32, list: writer.add_array}
            if value is not None:
                add[type(value)](key, value)
        writer.add_tokenizer_model("bert")
        writer.add_tokenizer_pre("jina-v2-en")
        writer.add_token_list([w if w[0] == "[" else w[2:] if w[:2] == "##" else "\u2581" + w for w in WORDS])
        writer.add_token_types([3 if w[0] == "[" else 1 for w in WORDS])
        for name, tensor in reference.state_dict().items():
            if not file_name_of(name).startswith(without):
                writer.add_tensor(file_name_of(name), tensor.numpy())
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        return path

    return written


@pytest.mark.parametrize(("kind", "pooled"), [(1, lambda h: h.mean(0)), (2, lambda h: h[0]), (3, lambda h: h[-1])])
def test_sentence_vectors(kind, pooled, write, reference):
    model = intermodal.load(write({"bert.pooling_type": kind}))
    assert model.task == "sentence-similarity"
    ids = np.array([[2, 5, 6, 7, 3]])  # [CLS] a b c [SEP]
    hidden = reference_outputs(reference.bert, input_ids=ids)["last_hidden_state"][0]
    expected = pooled(hidden) / np.linalg.norm(pooled(hidden))
    np.testing.assert_allclose(model.embed("a b c"), expected, atol=1e-5)


def test_a_classifier_on_its_pooler(write, reference):
    labels = ["sad", "neutral", "glad"]
    model = intermodal.load(write({"bert.pooling_type": 4, "bert.classifier.output_labels": labels}, without=()))
    assert model.task == "text-classification"
    assert model.config.id2label == dict(enumerate(labels))
    assert_close(model(IDS), reference_outputs(reference, input_ids=IDS)["logits"])


def test_converted_it_is_the_model_that_it_was_made_from(write, reference, tmp_path):
    import transformers

    intermodal.convert(write({"bert.attention.layer_norm_epsilon": 1e-5}), tmp_path / "folder")
    loaded, info = transformers.BertModel.from_pretrained(
        tmp_path / "folder", output_loading_info=True, add_pooling_layer=False
    )
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    assert loaded.config.layer_norm_eps == 1e-5
    original = reference.bert.state_dict()
    for name, values in loaded.state_dict().items():
        torch.testing.assert_close(values, original[name], rtol=0, atol=0)


REFUSED = {
    "causal": ({"bert.attention.causal": True}, "bert.attention.causal = true"),
    "causal by default": ({"bert.attention.causal": None}, "bert.attention.causal: expected false"),
    "a missing key": ({"bert.attention.layer_norm_epsilon": None}, "layer_norm_epsilon: missing"),
    "another context": ({"bert.context_length": 41}, "position_embd.weight has 40 rows"),
    "other heads": ({"bert.attention.head_count_kv": 2}, "bert.attention.head_count_kv = 2: expected 4"),
    "other widths": ({"bert.attention.key_length": 16}, "bert.attention.key_length = 16: expected 12"),
    "an unknown key": ({"bert.rope.freq_base": 1e4}, "bert.rope.freq_base = 10000.0: unknown key"),
    "a rank without classifier": ({"bert.pooling_type": 4}, "no cls.output.weight"),
    "no such pooling": ({"bert.pooling_type": 9}, "bert.pooling_type = 9"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_honoured_is_refused_by_name(case, write):
    keys, message = REFUSED[case]
    with pytest.raises(ConfigError) as caught:
        intermodal.load(write(keys))
    assert message in str(caught.value)


def test_a_classifier_without_its_pooler_is_refused(write):
    with pytest.raises(ConfigError, match=r"cls.output.weight: llama.cpp's converter drops the pooler"):
        intermodal.load(write(without=("cls.weight", "cls.bias")))
    with pytest.raises(ConfigError, match=r"cls.output.weight has 3 rows"):
        intermodal.load(write({"bert.classifier.output_labels": ["a", "b"]}, without=()))


def test_without_pooling_there_is_no_sentence_vector(write):
    with pytest.raises(TaskError, match="does not say how to make one vector"):
        intermodal.load(write({"bert.pooling_type": 0}), task="sentence-similarity")
