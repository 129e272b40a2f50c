"""Values, against the safetensors library in both directions."""

import threading

import ml_dtypes
import numpy as np
import pytest
import safetensors
import safetensors.numpy
from intermodal.checkpoints import open_checkpoint, weight_file
from intermodal.checkpoints.header import DTYPES, read_header
from intermodal.checkpoints.write_safetensors import write_file
from intermodal.dtypes import numpy_dtype
from intermodal.errors import CheckpointError
from intermodal.sources import open_repository
from intermodal.sources.base import Access

RANDOM = np.random.default_rng(0)


def some(dtype: str, shape: tuple[int, ...]) -> np.ndarray:
    """Random bits of a dtype; booleans are 0 or 1."""
    kind = numpy_dtype(dtype)
    if dtype == "bool":
        return RANDOM.integers(0, 2, shape).astype(bool)
    bits = RANDOM.integers(0, 256, (int(np.prod(shape)) * kind.itemsize,), dtype=np.uint8)
    return bits.view(kind).reshape(shape)


def checkpoint_of(folder):
    (folder / "config.json").write_text('{"model_type": "tiny"}')
    return open_checkpoint(open_repository(folder, Access()))


def same_bits(left: np.ndarray, right: np.ndarray) -> bool:
    return left.dtype == right.dtype and left.shape == right.shape and left.tobytes() == right.tobytes()


@pytest.mark.parametrize("stored", DTYPES)
def test_every_dtype_both_ways(stored, tmp_path):
    dtype = DTYPES[stored][0]
    tensors = {
        "matrix": some(dtype, (3, 5)),
        "scalar": some(dtype, ()),
        "empty": some(dtype, (0, 7)),
        "odd": some(dtype, (7,)),
        "large": some(dtype, (64, 16)),
    }
    # Ours is read by safetensors …
    write_file(tmp_path / "model.safetensors", specs_of(tensors), tensors.__getitem__, {"format": "pt"})
    theirs = dict(safetensors.deserialize((tmp_path / "model.safetensors").read_bytes()))
    for name, values in tensors.items():
        assert (theirs[name]["dtype"], theirs[name]["shape"]) == (stored, list(values.shape))
        assert bytes(theirs[name]["data"]) == values.tobytes()
    # … and theirs by us.
    entries = {
        name: safetensors.TensorSpec(
            dtype=dtype, shape=list(values.shape), data_ptr=values.ctypes.data, data_len=values.nbytes
        )
        for name, values in tensors.items()
    }
    safetensors.serialize_file(entries, tmp_path / "model.safetensors")
    checkpoint = checkpoint_of(tmp_path)
    for name, values in tensors.items():
        assert checkpoint.tensors[name].stored == stored
        assert checkpoint.tensors[name].dtype == dtype
        assert same_bits(checkpoint.read(name), values)
        out = np.empty(values.shape, values.dtype)
        checkpoint.read_into(name, out)
        assert same_bits(out, values)


def specs_of(tensors):
    return [(name, values.dtype.name, values.shape) for name, values in tensors.items()]


def test_file_of_the_numpy_front_end(tmp_path):
    tensors = {"b": some("bfloat16", (4, 4)), "a": some("float32", (3,)), "c": some("int64", (2,))}
    safetensors.numpy.save_file(tensors, tmp_path / "model.safetensors", {"made": "elsewhere"})
    checkpoint = checkpoint_of(tmp_path)
    assert checkpoint.metadata == {"made": "elsewhere"}
    assert all(same_bits(checkpoint.read(name), values) for name, values in tensors.items())
    assert checkpoint.tensors["b"].dtype == "bfloat16"
    assert checkpoint.read("b").dtype == ml_dtypes.bfloat16


def test_views_are_lazy_and_read_only(tmp_path):
    values = {"a": np.arange(1 << 16, dtype=np.float32)}
    write_file(tmp_path / "model.safetensors", specs_of(values), values.__getitem__)
    checkpoint = checkpoint_of(tmp_path)
    first, second = checkpoint.read("a"), checkpoint.read("a")
    assert np.shares_memory(first, second)
    assert not first.flags.writeable
    with pytest.raises(ValueError, match="read-only"):
        first[0] = 1
    checkpoint.close()
    assert first[5] == 5  # a view outlives its checkpoint


def test_odd_addresses_are_copied(tmp_path):
    """A file of another writer may have a tensor where its dtype cannot lie."""
    values = np.arange(4, dtype=np.float32)
    entry = {"dtype": "F32", "shape": [4], "data_offsets": [1, 17]}
    text = ('{"x":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"a":' + str(entry).replace("'", '"') + "}").encode()
    text += b" " * (-(8 + len(text)) % 8)
    (tmp_path / "model.safetensors").write_bytes(len(text).to_bytes(8, "little") + text + b"\7" + values.tobytes())
    checkpoint = checkpoint_of(tmp_path)
    got = checkpoint.read("a")
    assert got.flags.aligned
    assert not got.flags.writeable
    assert same_bits(got, values)
    assert checkpoint.map_copy_on_write("a") is None
    assert checkpoint.map_copy_on_write("x") is not None


def test_copy_on_write_never_reaches_the_file(tmp_path):
    values = {"a": np.arange(5000, dtype=np.float32), "b": np.ones(16, np.float32)}
    write_file(tmp_path / "model.safetensors", specs_of(values), values.__getitem__)
    before = (tmp_path / "model.safetensors").read_bytes()
    checkpoint = checkpoint_of(tmp_path)
    mapped = checkpoint.map_copy_on_write("a")
    assert same_bits(mapped, values["a"])
    mapped += 1
    assert same_bits(checkpoint.map_copy_on_write("a"), values["a"] + 1)
    assert same_bits(checkpoint.read("a"), values["a"])
    checkpoint.close()
    assert (tmp_path / "model.safetensors").read_bytes() == before


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16", "float64"])
@pytest.mark.parametrize("stored", ["float32", "bfloat16", "float16", "float8_e4m3fn"])
def test_floats_are_read_into_any_float_dtype(stored, dtype, tmp_path, monkeypatch):
    monkeypatch.setattr(weight_file, "_CONVERTED", 1 << 10)  # several chunks, the last one shorter
    values = {"a": RANDOM.normal(size=(37, 19)).astype(numpy_dtype(stored)), "b": np.ones((), numpy_dtype(stored))}
    write_file(tmp_path / "model.safetensors", specs_of(values), values.__getitem__)
    checkpoint = checkpoint_of(tmp_path)
    for name, expected in values.items():
        out = np.empty(expected.shape, numpy_dtype(dtype))
        checkpoint.read_into(name, out)
        assert same_bits(out, expected.astype(out.dtype))


def test_rows_are_read_alone(tmp_path):
    values = {"a": RANDOM.normal(size=(11, 3, 2)).astype(np.float32)}
    write_file(tmp_path / "model.safetensors", specs_of(values), values.__getitem__)
    checkpoint = checkpoint_of(tmp_path)
    for dtype in ("float32", "bfloat16"):
        out = np.empty((4, 3, 2), numpy_dtype(dtype))
        checkpoint.read_into("a", out, 5)
        assert same_bits(out, values["a"][5:9].astype(out.dtype))
    with pytest.raises(CheckpointError, match="from row 9 on"):
        checkpoint.read_into("a", np.empty((4, 3, 2), np.float32), 9)


@pytest.mark.parametrize("chunk", [100, 64 << 20])
def test_tensors_are_read_together(chunk, tmp_path, monkeypatch):
    """Whatever the order asked for, with gaps between them, and some converted."""
    monkeypatch.setattr(weight_file, "CHUNK", chunk)
    tensors = {f"t{index}": some("float32", (index, 5)) for index in range(12)}
    write_file(tmp_path / "model.safetensors", specs_of(tensors), tensors.__getitem__)
    checkpoint = checkpoint_of(tmp_path)
    names = ["t9", "t2", "t3", "t4", "t0", "t7", "t11", "t10"]
    targets = {name: np.empty(tensors[name].shape, np.float64 if name == "t3" else np.float32) for name in names}
    checkpoint.read_together(targets)
    for name, out in targets.items():
        assert same_bits(out, tensors[name].astype(out.dtype))


def test_read_into_from_many_threads(tmp_path):
    tensors = {f"t{index}": some("float32", (257, 1024)) for index in range(24)}  # over 8 MiB in sum, 1 MiB each
    tensors["big"] = some("float32", (3, 1 << 20))
    write_file(tmp_path / "model.safetensors", specs_of(tensors), tensors.__getitem__)
    checkpoint = checkpoint_of(tmp_path)
    wrong: list[str] = []

    def work(names):
        for name in names:
            out = np.empty(tensors[name].shape, tensors[name].dtype)
            checkpoint.read_into(name, out)
            if not same_bits(out, tensors[name]):
                wrong.append(name)

    threads = [threading.Thread(target=work, args=([*list(tensors)[start::3], "big"],)) for start in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_read_into_refuses_what_does_not_fit(tmp_path):
    values = {"a": np.zeros((2, 3), np.float32)}
    write_file(tmp_path / "model.safetensors", specs_of(values), values.__getitem__)
    checkpoint = checkpoint_of(tmp_path)
    read_only = np.zeros((2, 3), np.float32)
    read_only.flags.writeable = False
    for out in (
        np.zeros((3, 2), np.float32),
        np.zeros((2, 3), np.int32),
        np.zeros((), np.float32),
        np.zeros((3, 3), np.float32),
        np.zeros((2, 6), np.float32)[:, ::2],
        np.zeros((3, 2), np.float32).T,
        read_only,
    ):
        with pytest.raises(CheckpointError, match=r"cannot be read into|can only be read into"):
            checkpoint.read_into("a", out)
    with pytest.raises(CheckpointError, match="no tensor 'b'; it has: a"):
        checkpoint.read("b")


def test_file_that_shrinks(tmp_path):
    values = {"a": np.zeros(100_000, np.float32)}
    path = tmp_path / "model.safetensors"
    write_file(path, specs_of(values), values.__getitem__)
    before, during = checkpoint_of(tmp_path), checkpoint_of(tmp_path)
    out = np.empty(100_000, np.float32)
    during.read_into("a", out)
    with path.open("r+b") as file:
        file.truncate(5000)
    with pytest.raises(CheckpointError, match="truncated while it was read"):
        during.read_into("a", out)
    with pytest.raises(CheckpointError, match="truncated or replaced"):
        during.read("a")  # mapping it would kill the process
    with pytest.raises(CheckpointError, match="truncated or replaced"):
        before.read_into("a", out)


def test_file_that_is_replaced_while_open(tmp_path):
    """Everything comes from the file that was opened, whoever takes its name."""
    path = tmp_path / "model.safetensors"
    for value in (1.0, 2.0):
        values = {"a": np.full(1000, value, np.float32), "b": np.full(10, value, np.float32)}
        write_file(path, specs_of(values), values.__getitem__)
        if value == 1.0:
            checkpoint = checkpoint_of(tmp_path)
            view = checkpoint.read("a")
    assert view[0] == 1.0
    out = np.empty(10, np.float32)
    checkpoint.read_into("b", out)
    assert out[0] == 1.0
    assert checkpoint_of(tmp_path).read("b")[0] == 2.0


def test_layout_is_aligned(tmp_path):
    tensors = {
        "odd_bytes": some("uint8", (7,)),
        "norm": some("float32", (9,)),
        "half": some("bfloat16", (33,)),
        "kernel": some("float32", (16, 16)),
        "wide": some("float64", (3,)),
        "embedding": some("bfloat16", (64, 32)),
    }
    write_file(tmp_path / "model.safetensors", specs_of(tensors), tensors.__getitem__)
    header = read_header(open_repository(tmp_path, Access()), "model.safetensors")
    offsets = {name: info.offset for name, info in header.tensors.items()}
    assert min(offsets.values()) % 64 == 0
    assert offsets["kernel"] % 64 == offsets["embedding"] % 64 == 0
    assert all(offset % numpy_dtype(header.tensors[name].dtype).itemsize == 0 for name, offset in offsets.items())
    assert checkpoint_of(tmp_path).read("embedding").ctypes.data % 64 == 0
