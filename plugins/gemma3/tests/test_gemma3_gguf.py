"""Gemma 3 from GGUF files that the gguf package writes as llama.cpp names things, against the model behind them."""

from pathlib import Path
from typing import Any

import intermodal
import numpy as np
import pytest
from intermodal.errors import ConfigError
from intermodal.testing.reference import assert_close, make_reference, reference_outputs

gguf = pytest.importorskip("gguf")
pytest.importorskip("intermodal_gguf")
pytest.importorskip("torch")

IDS = np.random.default_rng(8).integers(5, 40, (2, 24)).astype("int32")
TOKENS = ["<pad>", "<eos>", "<bos>", "<unk>", *(f"<0x{number:02X}>" for number in range(256))]
FULL, SLIDING = "full_attention", "sliding_attention"
PATTERN = [SLIDING] * 5 + [FULL] + [SLIDING]
LINEAR = {"rope_type": "linear", "rope_theta": 5e4, "factor": 8.0}


def ropes(theta: float) -> dict[str, Any]:
    return {FULL: LINEAR, SLIDING: {"rope_type": "default", "rope_theta": theta}}


def fields(**changes: Any) -> dict[str, Any]:
    return {
        "vocab_size": len(TOKENS),
        "hidden_size": 48,
        "intermediate_size": 80,
        "num_hidden_layers": 7,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 16,
        "query_pre_attn_scalar": 16,
        "max_position_embeddings": 128,
        "sliding_window": 9,
        "layer_types": PATTERN,
        "rope_parameters": ropes(1e4),
        **changes,
    }


def write(folder: Path, model: Any, keys: dict[str, Any] | None = None, cut: int | None = None) -> Path:
    """Write a file as llama.cpp's converter does. Keys of None are left out."""
    path, layers = folder / "model.gguf", model.config.num_hidden_layers
    writer = gguf.GGUFWriter(path, "gemma3")
    values: dict[str, Any] = {
        "gemma3.block_count": layers,
        "gemma3.context_length": 128,
        "gemma3.embedding_length": model.config.hidden_size,
        "gemma3.feed_forward_length": 80,
        "gemma3.attention.head_count": model.config.num_attention_heads,
        "gemma3.attention.head_count_kv": 2,
        "gemma3.attention.key_length": 16,
        "gemma3.attention.value_length": 16,
        "gemma3.attention.layer_norm_rms_epsilon": 1e-6,
        "gemma3.attention.sliding_window": 9,
        "gemma3.rope.freq_base": 5e4,
        "gemma3.rope.scaling.type": "linear",
        "gemma3.rope.scaling.factor": 8.0,
        "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.bos_token_id": 2,
        "tokenizer.ggml.eos_token_id": 1,
        "tokenizer.ggml.eot_token_id": 7,
        "tokenizer.ggml.padding_token_id": 0,
        "tokenizer.ggml.unknown_token_id": 3,
        "tokenizer.ggml.add_space_prefix": False,
    }
    for key, value in (values | (keys or {})).items():
        add = {
            bool: writer.add_bool,
            int: writer.add_uint32,
            float: writer.add_float32,
            str: writer.add_string,
            list: writer.add_array,
        }
        if value is not None:
            add[type(value)](key, value)
    writer.add_token_list(TOKENS[:cut])
    writer.add_token_scores([0.0] * len(TOKENS[:cut]))
    writer.add_token_types([3, 3, 3, 2, *[6] * 256][:cut])
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.GEMMA3, layers)
    for name, tensor in model.state_dict().items():
        if name == "lm_head.weight" and model.config.tie_word_embeddings:
            continue
        array = tensor.numpy()
        if name == "model.embed_tokens.weight":
            array = array[:cut]
        if name.endswith("norm.weight"):
            array = array + np.float32(1)
        writer.add_tensor(names.get_name(name, try_suffixes=(".weight", ".bias")), np.ascontiguousarray(array))
    for step in (writer.write_header_to_file, writer.write_kv_data_to_file, writer.write_tensors_to_file, writer.close):
        step()
    return path


def expected(model: Any) -> np.ndarray:
    return reference_outputs(model, input_ids=IDS)["logits"]


@pytest.fixture(scope="module")
def reference() -> Any:
    return make_reference("Gemma3ForCausalLM", fields())


def test_logits_and_special_tokens(reference, tmp_path):
    model = intermodal.load(write(tmp_path, reference))
    assert_close(model(IDS), expected(reference))
    assert model.config.eos_token_id == (1, 7)


VARIANTS = {
    "bias": ({"attention_bias": True}, {}),
    "another pattern": ({"layer_types": [SLIDING, FULL] * 3 + [SLIDING]}, {"sliding_window_pattern": 2}),
    "a list of windows": (
        {"layer_types": [FULL, SLIDING] + [FULL] * 5},
        {"sliding_window_pattern": [False, True] + [False] * 5},
    ),
    "no window": ({"layer_types": [FULL] * 7}, {"sliding_window": None}),
    "local base": (
        {"rope_parameters": ropes(70.0)},
        {"freq_base_swa": 70.0},
    ),
    "capped logits": ({"final_logit_softcapping": 3.0}, {"final_logit_softcapping": 3.0}),
    "not tied": ({"tie_word_embeddings": False}, {}),
    "as many layers as the 27B": (
        {"num_hidden_layers": 62, "query_pre_attn_scalar": 12, "layer_types": (PATTERN[:6] * 11)[:62]},
        {},
    ),
}
HOMES = {"sliding_window_pattern": "attention.", "sliding_window": "attention.", "freq_base_swa": "rope."}


@pytest.mark.parametrize("variant", VARIANTS)
def test_variants(variant, tmp_path):
    changes, keys = VARIANTS[variant]
    model = make_reference("Gemma3ForCausalLM", fields(**changes))
    path = write(tmp_path, model, {f"gemma3.{HOMES.get(key, '')}{key}": value for key, value in keys.items()})
    assert_close(intermodal.load(path)(IDS), expected(model))


def test_rows_that_were_cut_off_are_not_missed(reference, tmp_path):
    model = intermodal.load(write(tmp_path, reference, cut=50))
    assert model.config.vocab_size == 50
    assert_close(model(IDS), expected(reference)[..., :50])


def test_norms_are_what_they_were_before_1_was_added(tmp_path):
    import torch

    model = make_reference("Gemma3ForCausalLM", fields()).to(torch.bfloat16).float()
    loaded = intermodal.load(write(tmp_path, model))
    loaded.save_pretrained(tmp_path / "written")
    from safetensors.numpy import load_file

    for name, values in load_file(tmp_path / "written" / "model.safetensors").items():
        original = model.state_dict()[name].numpy()
        if name.endswith("norm.weight"):  # the sum rounds in float32 where a weight is far below 1
            np.testing.assert_allclose(values, original, rtol=0, atol=2**-24)
        else:
            np.testing.assert_array_equal(values, original)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("gemma3.attention.scale", 0.5),
        ("gemma3.attn_logit_softcapping", 50.0),
        ("gemma3.attention.causal", False),
        ("gemma3.expert_count", 4),
        ("gemma3.attention.sliding_window_pattern", [True, False]),
        ("gemma3.some_new_key", 1),
    ],
)
def test_what_cannot_be_honoured_is_refused_by_name(key, value, reference, tmp_path):
    with pytest.raises(ConfigError, match=key):
        intermodal.load(write(tmp_path, reference, {key: value}))
