"""Headers written by the gguf package, read back: every value type, shapes, alignment, versions, ranges."""

import struct

import gguf
import numpy as np
import pytest
from intermodal.errors import CheckpointError
from intermodal_gguf.header import read_header
from intermodal_gguf.reader import GGUFReader


def _every_type(writer):
    writer.add_uint8("k.u8", 255)
    writer.add_int8("k.i8", -128)
    writer.add_uint16("k.u16", 65535)
    writer.add_int16("k.i16", -32768)
    writer.add_uint32("k.u32", 2**32 - 1)
    writer.add_int32("k.i32", -(2**31))
    writer.add_uint64("k.u64", 2**64 - 1)
    writer.add_int64("k.i64", -(2**63))
    writer.add_float32("k.f32", 0.5)
    writer.add_float64("k.f64", 0.1)
    writer.add_bool("k.bool", True)
    writer.add_string("k.string", "größer 🦙 ▁")
    writer.add_array("k.strings", ["", "a", "ünï", "🦙"])
    writer.add_array("k.ints", [1, -2, 3])
    writer.add_array("k.floats", [0.25, -1.5])
    writer.add_array("k.bools", [True, False, True])
    writer.add_array("k.nested", [[1, 2], [3, 4]])


EXPECTED = {
    "k.u8": 255,
    "k.i8": -128,
    "k.u16": 65535,
    "k.i16": -32768,
    "k.u32": 2**32 - 1,
    "k.i32": -(2**31),
    "k.u64": 2**64 - 1,
    "k.i64": -(2**63),
    "k.f32": 0.5,
    "k.f64": 0.1,
    "k.bool": True,
    "k.string": "größer 🦙 ▁",
    "k.strings": ["", "a", "ünï", "🦙"],
    "k.ints": [1, -2, 3],
    "k.floats": [0.25, -1.5],
    "k.bools": [True, False, True],
    "k.nested": [[1, 2], [3, 4]],
}


def test_every_value_type_is_read(write_gguf, open_gguf):
    metadata = open_gguf(write_gguf(keys=_every_type)).metadata
    assert {key: metadata[key] for key in EXPECTED} == EXPECTED
    assert type(metadata["k.bool"]) is bool
    assert type(metadata["k.bools"][0]) is bool


def test_what_a_checkpoint_says_of_itself(write_gguf, open_gguf):
    checkpoint = open_gguf(write_gguf({"w": np.zeros((2, 3), np.float32)}, arch="gemma3"))
    assert (checkpoint.format, checkpoint.dialect, checkpoint.family_key) == ("gguf", "gguf", "gguf.gemma3")
    assert checkpoint.config == {}
    assert checkpoint.metadata["general.architecture"] == "gemma3"


@pytest.mark.parametrize("alignment", [None, 8, 64, 1024])
def test_tensors_lie_where_the_header_says(write_gguf, open_gguf, alignment):
    rng = np.random.default_rng(0)
    tensors = {
        "a": rng.normal(size=5).astype(np.float32),
        "b": rng.normal(size=(2, 3, 4, 5)).astype(np.float16),
        "c": rng.integers(-100, 100, (3, 7)).astype(np.int16),
        "d": rng.normal(size=(1, 1)).astype(np.float64),
    }
    path = write_gguf(tensors, alignment=alignment)
    checkpoint = open_gguf(path)
    assert list(checkpoint.tensors) == list(tensors)
    for name, value in tensors.items():
        info = checkpoint.tensors[name]
        assert (info.shape, info.dtype, info.nbytes) == (value.shape, value.dtype.name, value.nbytes)
        assert info.file == "model.gguf"
        assert path.read_bytes()[info.offset : info.offset + info.nbytes] == value.tobytes()
        np.testing.assert_array_equal(checkpoint.read(name), value)


def test_version_2_is_read_as_version_3(write_gguf, open_gguf):
    path = write_gguf({"w": np.arange(6, dtype=np.float32)}, keys=_every_type)
    data = bytearray(path.read_bytes())
    assert struct.unpack_from("<I", data, 4) == (3,)
    struct.pack_into("<I", data, 4, 2)
    path.write_bytes(data)
    checkpoint = open_gguf(path)
    assert checkpoint.metadata["k.nested"] == [[1, 2], [3, 4]]
    np.testing.assert_array_equal(checkpoint.read("w"), np.arange(6))


def test_a_big_endian_file_is_refused_by_name(tmp_path, open_gguf):
    writer = gguf.GGUFWriter(tmp_path / "big.gguf", "llama", endianess=gguf.GGUFEndian.BIG)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    with pytest.raises(CheckpointError, match="big-endian"):
        open_gguf(tmp_path / "big.gguf")


@pytest.mark.parametrize("sizes_known", [True, False])
def test_a_remote_header_is_read_in_growing_ranges(write_gguf, remote, sizes_known):
    tokens = [f"token {index}" for index in range(150_000)]
    path = write_gguf({"w": np.zeros((3000, 1000), np.float32)}, keys=lambda writer: writer.add_token_list(tokens))
    data = path.read_bytes()
    repository = remote({"model.gguf": data}, sizes_known)
    checkpoint = GGUFReader().open(repository)
    assert checkpoint.metadata["tokenizer.ggml.tokens"] == tokens
    header_end = checkpoint.tensors["w"].offset
    assert 2 << 20 < header_end < 4 << 20
    fetched = [(start, stop) for _, start, stop in repository.ranges if start < header_end]
    assert fetched == [(0, 1 << 20), (1 << 20, 4 << 20)], "each byte is asked for once, and the weights are not"
    assert sum(stop - start for _, start, stop in repository.ranges) < len(data) // 2


def test_a_remote_file_of_unknown_size_is_found_to_be_truncated(write_gguf, remote):
    data = write_gguf({"w": np.zeros(1 << 20, np.float32)}).read_bytes()
    with pytest.raises(CheckpointError, match=r"'w'.*truncated"):
        GGUFReader().open(remote({"model.gguf": data[:-64]}, sizes_known=False))
    with pytest.raises(CheckpointError, match="truncated"):
        GGUFReader().open(remote({"model.gguf": data[:50]}, sizes_known=False))


@pytest.mark.real
def test_the_header_agrees_with_the_gguf_package_on_a_real_file(smollm2, smollm2_reference, open_gguf):
    checkpoint, reference = open_gguf(smollm2), smollm2_reference
    assert list(checkpoint.tensors) == [tensor.name for tensor in reference.tensors]
    for tensor in reference.tensors:
        info = checkpoint.tensors[tensor.name]
        assert info.shape == tuple(int(size) for size in tensor.shape[::-1])
        assert (info.stored, info.nbytes) == (tensor.tensor_type.name, tensor.n_bytes)
        assert info.offset == tensor.data_offset
    fields = {key: field for key, field in reference.fields.items() if not key.startswith("GGUF.")}
    assert list(checkpoint.metadata) == list(fields)
    for key in (
        "tokenizer.chat_template",
        "llama.rope.freq_base",
        "tokenizer.ggml.token_type",
        "tokenizer.ggml.merges",
    ):
        assert checkpoint.metadata[key] == fields[key].contents()


def test_offsets_count_from_the_beginning_of_the_file(write_gguf, remote):
    data = write_gguf({"w": np.full(8, 7, np.float32)}).read_bytes()
    info = read_header(remote({"model.gguf": data}), "model.gguf").tensors["w"]
    assert np.frombuffer(data, np.float32, 8, info.offset).tolist() == [7] * 8
