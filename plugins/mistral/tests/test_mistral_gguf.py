"""GGUF files, which say `llama` for Mistral: read with family="mistral", with and without windows."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import intermodal
import numpy as np
import pytest
from intermodal.errors import ConfigError
from intermodal.testing.reference import assert_close, make_reference, reference_outputs

gguf = pytest.importorskip("gguf")
pytest.importorskip("intermodal_gguf")

IDS = np.random.default_rng(5).integers(3, 96, (2, 17)).astype("int32")
NAMES = {
    "model.embed_tokens": "token_embd",
    "model.norm": "output_norm",
    "lm_head": "output",
    "model.layers": "blk",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
}
Write = Callable[..., Path]


def interleaved(values: np.ndarray, heads: int) -> np.ndarray:
    """Rows of each head with the two dimensions of a rotary pair side by side, as llama.cpp's converter writes them."""
    return values.reshape(heads, 2, -1, values.shape[1]).swapaxes(1, 2).reshape(values.shape)


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes a transformers model as llama.cpp's converter does. `keys` of None are left out."""

    def written(reference: Any, keys: dict[str, Any] | None = None, tensors: dict[str, Any] | None = None) -> Path:
        config, path = reference.config, tmp_path / "model.gguf"
        writer = gguf.GGUFWriter(path, "llama")
        base: dict[str, Any] = {
            "block_count": config.num_hidden_layers,
            "context_length": config.max_position_embeddings,
            "embedding_length": config.hidden_size,
            "feed_forward_length": config.intermediate_size,
            "attention.head_count": config.num_attention_heads,
            "attention.head_count_kv": config.num_key_value_heads,
            "attention.key_length": config.head_dim,
            "attention.value_length": config.head_dim,
            "attention.layer_norm_rms_epsilon": config.rms_norm_eps,
            "rope.freq_base": config.rope_parameters["rope_theta"],
            "rope.dimension_count": config.head_dim,
            "vocab_size": config.vocab_size,
        }
        for key, value in (base | (keys or {})).items():
            add = {int: writer.add_uint32, float: writer.add_float32, str: writer.add_string}
            add.get(type(value), writer.add_array)(f"llama.{key}", value)
        for name, parameter in reference.state_dict().items():
            values = parameter.numpy()
            if "q_proj" in name:
                values = interleaved(values, config.num_attention_heads)
            if "k_proj" in name:
                values = interleaved(values, config.num_key_value_heads)
            for theirs, other in NAMES.items():
                name = name.replace(theirs, other)
            writer.add_tensor(name, np.ascontiguousarray(values))
        for name, values in (tensors or {}).items():
            writer.add_tensor(name, values)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        return path

    return written


WINDOWS = {
    "none": ("Mistral", {"sliding_window": None}, {}),
    "none, said as 0": ("Mistral", {"sliding_window": None}, {"attention.sliding_window": 0}),
    "in all layers": ("Mistral", {"sliding_window": 5}, {"attention.sliding_window": 5}),
    "in some layers": (
        "Ministral",
        {"sliding_window": 5, "layer_types": ["sliding_attention", "full_attention"]},
        {"attention.sliding_window": 5, "attention.sliding_window_pattern": [True, False]},
    ),
}


@pytest.mark.backend
@pytest.mark.parametrize("windows", WINDOWS)
def test_the_same_logits(windows: str, tiny: dict, write: Write) -> None:
    name, fields, keys = WINDOWS[windows]
    reference = make_reference(f"{name}ForCausalLM", {**tiny, "head_dim": 24, "rms_norm_eps": 1e-2, **fields})
    model = intermodal.load(write(reference, keys), family="mistral")
    assert_close(model(IDS), reference_outputs(reference, input_ids=IDS)["logits"])
    assert (model.report.family, model.task) == ("mistral", "text-generation")


def test_llama_owns_these_files_and_says_how_to_read_those_with_windows(tiny: dict, write: Write) -> None:
    pytest.importorskip("intermodal_llama3")
    reference = make_reference("MistralForCausalLM", {**tiny, "sliding_window": None})
    path = write(reference)
    assert intermodal.inspect(path).family == "llama"
    assert intermodal.inspect(path, family="mistral").family == "mistral"
    path = write(reference, {"attention.sliding_window": 5})
    with pytest.raises(ConfigError, match='family="mistral"'):
        intermodal.load(path)


def test_other_heads_leave_the_output_alone(tiny: dict, write: Write) -> None:
    reference = make_reference("MistralForCausalLM", {**tiny, "sliding_window": None})
    backbone = intermodal.load(write(reference), "feature-extraction", family="mistral")
    assert backbone.report.ignored == {"output.weight": "the head of another task"}
    expected = reference_outputs(reference.model, input_ids=IDS)["last_hidden_state"]
    assert_close(backbone(IDS)["last_hidden_state"], expected)


@pytest.mark.parametrize(
    ("keys", "tensors", "named"),
    [
        ({"attention.sliding_window": -1.5}, {}, "llama.attention.sliding_window = -1.5"),
        (
            {"attention.sliding_window": 5, "attention.sliding_window_pattern": [True]},
            {},
            "llama.attention.sliding_window_pattern = [true]",
        ),
        (
            {"attention.sliding_window": 5, "attention.sliding_window_pattern": 2},
            {},
            "llama.attention.sliding_window_pattern = 2",
        ),
        ({"expert_count": 8, "expert_used_count": 2}, {}, "llama.expert_count = 8"),
        ({"attention.temperature_scale": 0.1}, {}, "llama.attention.temperature_scale = "),
        ({}, {"blk.0.attn_q.bias": np.zeros(48, np.float32)}, "blk.0.attn_q.bias"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_what_cannot_be_honoured_is_refused_by_name(
    keys: dict[str, Any], tensors: dict[str, Any], named: str, tiny: dict, write: Write
) -> None:
    reference = make_reference("MistralForCausalLM", {**tiny, "sliding_window": None})
    with pytest.raises(ConfigError) as caught:
        intermodal.load(write(reference, keys, tensors), family="mistral")
    assert named in str(caught.value).replace("True", "true")
