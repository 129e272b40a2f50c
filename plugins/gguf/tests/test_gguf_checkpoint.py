"""Opened checkpoints: what is read, into what, and what is refused."""

import subprocess
import sys

import gguf
import ml_dtypes
import numpy as np
import pytest
from gguf import GGMLQuantizationType
from intermodal.errors import CheckpointError
from intermodal_gguf.reader import GGUFReader

VALUES = np.random.default_rng(0).normal(size=(6, 64)).astype(np.float32)
PACKED = gguf.quants.quantize(VALUES, GGMLQuantizationType.Q8_0)
UNPACKED = gguf.quants.dequantize(PACKED, GGMLQuantizationType.Q8_0)
BF16 = gguf.quants.quantize(VALUES, GGMLQuantizationType.BF16)


@pytest.fixture
def path(write_gguf):
    return write_gguf(
        {
            "f32": VALUES,
            "f16": VALUES.astype(np.float16),
            "f64": VALUES.astype(np.float64),
            "bf16": (BF16, GGMLQuantizationType.BF16),
            "i8": np.arange(-8, 8, dtype=np.int8),
            "i32": np.arange(5, dtype=np.int32),
            "i64": np.arange(5, dtype=np.int64),
            "q8": (PACKED, GGMLQuantizationType.Q8_0),
        }
    )


EXPECTED = {
    "f32": VALUES,
    "f16": VALUES.astype(np.float16),
    "f64": VALUES.astype(np.float64),
    "bf16": VALUES.astype(ml_dtypes.bfloat16),
    "i8": np.arange(-8, 8, dtype=np.int8),
    "i32": np.arange(5, dtype=np.int32),
    "i64": np.arange(5, dtype=np.int64),
    "q8": UNPACKED,
}


@pytest.mark.parametrize("name", EXPECTED)
def test_values_and_dtypes_are_those_stored(path, open_gguf, name):
    checkpoint = open_gguf(path)
    value, expected = checkpoint.read(name), EXPECTED[name]
    assert value.dtype == expected.dtype
    assert value.dtype.name == checkpoint.tensors[name].dtype
    np.testing.assert_array_equal(value, expected)
    out = np.zeros(expected.shape, expected.dtype)
    checkpoint.read_into(name, out)
    assert out.tobytes() == expected.tobytes()


def test_plain_values_are_views_of_the_file_and_packed_ones_new(path, open_gguf):
    checkpoint = open_gguf(path)
    assert not checkpoint.read("f32").flags.writeable
    assert np.shares_memory(checkpoint.read("f32"), checkpoint.read("f32"))
    assert checkpoint.read("q8").flags.writeable


@pytest.mark.parametrize("name", ["f32", "f16", "bf16", "q8"])
@pytest.mark.parametrize("dtype", [np.float32, np.float16, ml_dtypes.bfloat16])
def test_floats_are_read_into_any_floating_dtype(path, open_gguf, name, dtype):
    out = np.zeros(VALUES.shape, dtype)
    open_gguf(path).read_into(name, out)
    np.testing.assert_array_equal(out, EXPECTED[name].astype(dtype))


@pytest.mark.parametrize("name", ["f32", "q8"])
def test_rows_are_read_alone(path, open_gguf, name):
    out = np.zeros((3, 64), np.float32)
    open_gguf(path).read_into(name, out, 2)
    np.testing.assert_array_equal(out, EXPECTED[name][2:5])
    with pytest.raises(ValueError, match="has shape"):
        open_gguf(path).read_into(name, out, 4)


def test_plain_values_are_mapped_and_never_written_back(path, open_gguf):
    before = path.read_bytes()
    checkpoint = open_gguf(path)
    assert checkpoint.map_copy_on_write("q8") is None
    mapped = checkpoint.map_copy_on_write("f32")
    np.testing.assert_array_equal(mapped, VALUES)
    mapped += 1
    np.testing.assert_array_equal(checkpoint.map_copy_on_write("f32"), VALUES + 1)
    np.testing.assert_array_equal(checkpoint.read("f32"), VALUES)
    checkpoint.close()
    assert path.read_bytes() == before


def test_packed_bytes_can_be_had_as_they_are(path, open_gguf):
    blocks = open_gguf(path).read_blocks("q8")
    assert (blocks.dtype, blocks.flags.writeable) == (np.uint8, False)
    np.testing.assert_array_equal(blocks, PACKED.reshape(-1))


@pytest.mark.parametrize(
    ("name", "target", "problem"),
    [
        ("f32", np.zeros((64, 6), np.float32), "has shape"),
        ("f32", np.zeros((6, 128), np.float32)[:, ::2], "not C-contiguous"),
        ("f32", np.zeros((6, 64), np.int32), "has dtype int32"),
        ("i32", np.zeros(5, np.float32), "has dtype float32"),
        ("i32", np.zeros(5, np.int64), "has dtype int64"),
        ("q8", np.zeros((6, 64), np.int8), "has dtype int8"),
        ("q8", np.broadcast_to(np.float32(0), (6, 64)), "not C-contiguous"),
    ],
)
def test_a_target_that_does_not_fit_is_refused(path, open_gguf, name, target, problem):
    with pytest.raises(ValueError, match=f"'{name}'.*{problem}"):
        open_gguf(path).read_into(name, target)


def test_a_file_that_shrinks_after_opening_is_refused(path, open_gguf):
    checkpoint = open_gguf(path)
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(CheckpointError, match="truncated or replaced"):
        checkpoint.read("f32")


def test_values_outlive_the_closed_checkpoint(path, open_gguf):
    checkpoint = open_gguf(path)
    value = checkpoint.read("f32")
    checkpoint.close()
    np.testing.assert_array_equal(value, VALUES)


def test_what_the_reader_takes(tmp_path, path, remote):
    reader = GGUFReader()

    def matches(*names, selected=None):
        repository = remote(dict.fromkeys(names, b""))
        repository.selected = selected
        return reader.matches(repository)

    assert matches("model.gguf")
    assert matches("README.md", "model.Q4_K_M.GGUF")
    assert matches("model-00001-of-00002.gguf", "model-00002-of-00002.gguf")
    assert not matches("config.json", "model.safetensors")
    assert not matches("config.json", "model.safetensors", "model.gguf"), "the folder is the original"
    assert matches("model.safetensors", "model.gguf", selected="model.gguf")
    assert not matches("model.safetensors", "model.gguf", selected="model.safetensors")
    assert reader.format == "gguf"


def test_the_plugin_is_found_and_pulls_in_nothing_heavy():
    program = """
import sys
from importlib.metadata import entry_points
(found,) = [entry for entry in entry_points(group="intermodal.formats") if entry.name == "gguf"]
plugin = found.load()
heavy = {"numpy", "keras", "gguf", "tokenizers", "jax", "torch", "tensorflow", "transformers"} & set(sys.modules)
assert not heavy, heavy
(reader,) = plugin.intermodal_checkpoint_readers()
assert reader.format == "gguf"
heavy = {"numpy", "keras", "gguf", "tokenizers"} & set(sys.modules)
assert not heavy, heavy
"""
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


@pytest.mark.real
def test_a_real_file_gives_the_reference_s_bits(smollm2, smollm2_reference, open_gguf):
    checkpoint = open_gguf(smollm2)
    tensors = {tensor.name: tensor for tensor in smollm2_reference.tensors}
    assert checkpoint.family_key == "gguf.llama"
    assert {info.stored for info in checkpoint.tensors.values()} == {"F32", "Q4_1", "Q8_0"}
    for name in ("token_embd.weight", "blk.0.attn_q.weight", "blk.7.ffn_down.weight", "output_norm.weight"):
        tensor = tensors[name]
        expected = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
        np.testing.assert_array_equal(checkpoint.read(name).view(np.uint32), expected.view(np.uint32))
