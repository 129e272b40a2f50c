"""The layout of params.json and consolidated files: the same model as its Hugging Face form, and what is refused."""

import json
from pathlib import Path
from typing import Any

import intermodal
import numpy as np
import pytest
from intermodal.errors import CheckpointError, ConfigError, MissingPluginError
from intermodal.testing.reference import assert_close, make_reference, reference_outputs, save_reference
from safetensors.numpy import load_file, save_file

IDS = np.random.default_rng(5).integers(3, 96, (2, 17)).astype("int32")
NAMES = {
    "model.embed_tokens": "tok_embeddings",
    "model.norm": "norm",
    "lm_head": "output",
    "self_attn.q_proj": "attention.wq",
    "self_attn.k_proj": "attention.wk",
    "self_attn.v_proj": "attention.wv",
    "self_attn.o_proj": "attention.wo",
    "mlp.gate_proj": "feed_forward.w1",
    "mlp.down_proj": "feed_forward.w2",
    "mlp.up_proj": "feed_forward.w3",
    "input_layernorm": "attention_norm",
    "post_attention_layernorm": "ffn_norm",
    "model.layers": "layers",
}


def interleaved(values: np.ndarray, heads: int) -> np.ndarray:
    """Rows of each head with the two dimensions of a rotary pair side by side."""
    halves = values.reshape(heads, 2, -1, values.shape[1])
    return np.stack([halves[:, 0], halves[:, 1]], axis=2).reshape(values.shape)


def renamed(tensors: dict[str, np.ndarray], config: Any) -> dict[str, np.ndarray]:
    """A Hugging Face checkpoint's tensors under the names of the other layout, with its rotary pairs."""
    found = {}
    for name, values in tensors.items():
        if "q_proj" in name:
            values = interleaved(values, config.num_attention_heads)
        if "k_proj" in name:
            values = interleaved(values, config.num_key_value_heads)
        for theirs, other in NAMES.items():
            name = name.replace(theirs, other)
        found[name] = np.ascontiguousarray(values)
    return found


def params_of(config: Any) -> dict[str, Any]:
    return {
        "dim": config.hidden_size,
        "n_layers": config.num_hidden_layers,
        "head_dim": config.head_dim,
        "hidden_dim": config.intermediate_size,
        "n_heads": config.num_attention_heads,
        "n_kv_heads": config.num_key_value_heads,
        "norm_eps": config.rms_norm_eps,
        "vocab_size": config.vocab_size,
        "rope_theta": config.rope_parameters["rope_theta"],
    }


def write(folder: Path, reference: Any, *, shards: int = 1, **params: Any) -> Path:
    """Rewrite a reference model into the layout; keys of None are left out."""
    source = save_reference(reference, folder.with_name(folder.name + "-hf"))
    tensors = renamed(load_file(source / "model.safetensors"), reference.config)
    folder.mkdir()
    if shards == 1:
        save_file(tensors, folder / "consolidated.safetensors")
    else:
        files = [f"consolidated-{number + 1:05}-of-{shards:05}.safetensors" for number in range(shards)]
        index = {name: files[number % shards] for number, name in enumerate(tensors)}
        for file in files:
            save_file({name: tensors[name] for name in tensors if index[name] == file}, folder / file)
        content = json.dumps({"metadata": {}, "weight_map": index})
        (folder / "consolidated.safetensors.index.json").write_text(content)
    content = {**params_of(reference.config), **params}
    (folder / "params.json").write_text(json.dumps({k: v for k, v in content.items() if v is not None}))
    return folder


@pytest.fixture(scope="module")
def reference(tiny: dict) -> Any:
    fields = {"head_dim": 24, "sliding_window": None, "rope_parameters": {"rope_type": "default", "rope_theta": 500.0}}
    return make_reference("MistralForCausalLM", {**tiny, **fields})


@pytest.fixture(scope="module")
def expected(reference: Any) -> np.ndarray:
    return reference_outputs(reference, input_ids=IDS)["logits"]


@pytest.mark.backend
@pytest.mark.parametrize("shards", [1, 3])
def test_the_same_logits(shards: int, reference: Any, expected: np.ndarray, tmp_path: Path) -> None:
    model = intermodal.load(write(tmp_path / "other", reference, shards=shards))
    assert_close(model(IDS), expected)
    assert model.task == "text-generation"
    assert not model.report.ignored


@pytest.mark.backend
@pytest.mark.parametrize(
    ("fields", "params"),
    [
        ({"sliding_window": 5, "rope_parameters": {"rope_type": "default", "rope_theta": 1e4}}, {"rope_theta": None}),
        ({"sliding_window": 5, "tie_word_embeddings": True}, {"tied_embeddings": True}),
        (
            {"rope_parameters": {"rope_type": "yarn", "rope_theta": 1e4, "factor": 4.0, "beta_fast": 16.0,
                                 "beta_slow": 2.0, "original_max_position_embeddings": 16}},
            {"yarn": {"factor": 4, "original_max_position_embeddings": 16, "beta": 16, "alpha": 2}},
        ),
        (
            {"rope_parameters": {"rope_type": "yarn", "rope_theta": 1e4, "factor": 4.0, "attention_factor": 1.0,
                                 "original_max_position_embeddings": 16}},
            {"yarn": {"factor": 4, "original_max_position_embeddings": 16, "apply_scale": False}},
        ),
    ],
    ids=["a window, of 1e4", "tied", "yarn", "yarn without its factor"],
)  # fmt: skip
def test_keys_mean_what_they_mean_in_config_json(fields: Any, params: Any, tiny: dict, tmp_path: Path) -> None:
    made = make_reference("MistralForCausalLM", {**tiny, "sliding_window": None, **fields})
    window = fields.get("sliding_window")
    model = intermodal.load(write(tmp_path / "other", made, **{"sliding_window": window, **params}))
    assert_close(model(IDS), reference_outputs(made, input_ids=IDS)["logits"])


@pytest.mark.backend
def test_a_list_of_windows_is_for_the_layers_in_turn(tiny: dict, tmp_path: Path) -> None:
    kinds = ["full_attention", "sliding_attention"] * 2
    fields = {"num_hidden_layers": 4, "head_dim": 12, "sliding_window": 5, "layer_types": kinds}
    made = make_reference("MinistralForCausalLM", {**tiny, **fields})
    model = intermodal.load(write(tmp_path / "other", made, sliding_window=[None, 5]))
    assert model.config.windows == (None, 5, None, 5)
    assert_close(model(IDS), reference_outputs(made, input_ids=IDS)["logits"])


def test_hugging_faces_files_come_first(reference: Any, expected: np.ndarray, tmp_path: Path) -> None:
    folder = write(tmp_path / "both", reference)
    save_reference(reference, folder)
    model = intermodal.load(folder)
    assert {source["file"] for sources in model.report.loaded.values() for source in sources} == {"model.safetensors"}
    named = intermodal.load(folder / "consolidated.safetensors")
    assert_close(named(IDS), expected)
    assert named.report.loaded["layers.0.self_attn.q_proj.weight"][0]["tensor"] == "layers.0.attention.wq.weight"


def test_other_tasks_and_inspect(reference: Any, tmp_path: Path) -> None:
    folder = write(tmp_path / "other", reference)
    found = intermodal.inspect(folder)
    assert found.loadable
    assert (found.family, found.family_key, found.task) == ("mistral", "consolidated.transformer", "text-generation")
    backbone = intermodal.load(folder, task="feature-extraction")
    assert backbone.report.ignored == {"output.weight": "the head of another task"}
    hidden = reference_outputs(reference.model, input_ids=IDS)["last_hidden_state"]
    assert_close(backbone(IDS)["last_hidden_state"], hidden)


def test_convert_writes_hugging_faces_form_bit_for_bit(reference: Any, tmp_path: Path) -> None:
    folder = write(tmp_path / "other", reference)
    intermodal.convert(folder, tmp_path / "converted")
    written = load_file(tmp_path / "converted" / "model.safetensors")
    original = load_file(tmp_path / "other-hf" / "model.safetensors")
    assert written.keys() == original.keys()
    assert all(np.array_equal(written[name], original[name]) for name in original)
    raw = json.loads((tmp_path / "converted" / "config.json").read_text())
    assert (raw["model_type"], raw["sliding_window"], raw["head_dim"]) == ("mistral", None, 24)


@pytest.mark.parametrize(
    ("params", "named"),
    [
        ({"moe": {"num_experts": 8, "num_experts_per_tok": 2}}, "moe = "),
        ({"vision_encoder": {"hidden_size": 1024}}, "vision_encoder = "),
        ({"quantization": {"qformat_weight": "fp8_e4m3"}}, "quantization = "),
        ({"llama_4_scaling": {"beta": 0.1}}, "llama_4_scaling = "),
        ({"causal": False}, "causal = false"),
        ({"rope_theta": None}, "rope_theta: missing"),
        ({"n_heads": None}, "n_heads: missing"),
        ({"dim": "48"}, "dim = '48'"),
        ({"sliding_window": [4, 5]}, "sliding_window = [4, 5]"),
        ({"sliding_window": [None, 4, 4]}, "sliding_window = [null, 4, 4]"),
        ({"sliding_window": []}, "sliding_window = []"),
        ({"sliding_window": 0}, "sliding_window = 0"),
        ({"yarn": {"factor": 4}}, "yarn = "),
        ({"yarn": {"factor": 4, "original_max_position_embeddings": 0}}, "yarn.original_max_position_embeddings = 0"),
        ({"rope_scaling_factor": 2}, "rope_scaling_factor = 2: unknown key"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_what_cannot_be_honoured_is_refused_by_name(params: Any, named: str, reference: Any, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        intermodal.load(write(tmp_path / "other", reference, **params))
    assert named in str(caught.value).replace("None", "null")
    assert "params.json" in str(caught.value)


def test_kinds_of_models_that_are_not_this_one(reference: Any, tmp_path: Path) -> None:
    with pytest.raises(MissingPluginError, match=r"consolidated.mamba.*state-space"):
        intermodal.load(write(tmp_path / "mamba", reference, model_type="mamba"))
    with pytest.raises(ConfigError, match=r"params.json of .* model_type 7"):
        intermodal.load(write(tmp_path / "seven", reference, model_type=7))


def test_files_that_are_missing(reference: Any, tmp_path: Path) -> None:
    folder = write(tmp_path / "other", reference, shards=2)
    (folder / "consolidated-00002-of-00002.safetensors").unlink()
    with pytest.raises(CheckpointError, match="consolidated-00002-of-00002"):
        intermodal.load(folder)
    (folder / "consolidated.safetensors.index.json").unlink()
    with pytest.raises(CheckpointError, match="consolidated-00001-of-00002"):
        intermodal.load(folder)
    alone = write(tmp_path / "alone", reference)
    (alone / "params.json").unlink()
    with pytest.raises(CheckpointError, match=r"consolidated.safetensors"):
        intermodal.load(alone)
