"""Malformed SafeTensors files: each is refused by name, and before anything large is allocated."""

import json
import struct
import tracemalloc

import numpy as np
import pytest
import safetensors
import safetensors.numpy
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from intermodal.checkpoints.header import read_header
from intermodal.errors import CheckpointError
from intermodal.sources import open_repository
from intermodal.sources.base import Access

GOOD = {"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}


def entry(dtype="F32", shape=(2,), offsets=(0, 8), **more):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets), **more}


def file_bytes(header, data=b"\0" * 8, length=None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def read(folder, content: bytes):
    (folder / "model.safetensors").write_bytes(content)
    return read_header(open_repository(folder, Access()), "model.safetensors")


HOSTILE = {
    "empty file": (b"", "too few"),
    "seven bytes": (b"\0" * 7, "too few"),
    "no header": (struct.pack("<Q", 0) + b"\0" * 8, "begins with"),
    "huge length": (struct.pack("<Q", 1 << 63) + b"{}", "expected at most 100000000"),
    "over the limit": (struct.pack("<Q", 100_000_001) + b"{}", "expected at most 100000000"),
    "header behind the end": (file_bytes(GOOD, length=5000), "truncated"),
    "git lfs pointer": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n", "git lfs pull"),
    "pickle": (b"\x80\x02}q\x00" + b"\0" * 64, "expected at most|begins with|truncated"),
    "zip": (b"PK\x03\x04" + b"\0" * 64, "begins with|truncated"),
    "not utf-8": (file_bytes(b'{"\xff": 1}'), "not valid JSON"),
    "not json": (file_bytes(b"{'a': 1}"), "not valid JSON"),
    "cut json": (file_bytes(b'{"a": {"dtype"'), "not valid JSON"),
    "array": (file_bytes(b"[]"), "begins with"),
    "leading space": (file_bytes(b" " + json.dumps(GOOD).encode()), "begins with"),
    "trailing text": (file_bytes(json.dumps(GOOD).encode() + b"x"), "not valid JSON"),
    "nested": (file_bytes(b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}"), "nested too deeply"),
    "many items": (file_bytes(b'{"a":[' + b"1," * 5_000_000 + b"1]}"), "more than 4000000 items"),
    "huge integer": (file_bytes(b'{"a":' + b"9" * 5000 + b"}"), "not valid JSON"),
    "nan": (file_bytes(b'{"a": NaN}'), "finite"),
    "tensor twice": (file_bytes(b'{"a":' + json.dumps(GOOD["a"]).encode() + b',"a":1}'), "'a' stands there twice"),
    "key twice": (
        file_bytes(b'{"a":{"dtype":"F32","dtype":"F32","shape":[2],"data_offsets":[0,8]}}'),
        "'dtype'",
    ),
    "lone surrogate": (
        file_bytes(b'{"\\ud800":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}'),
        "valid Unicode",
    ),
    "no entry": (file_bytes({"a": 1}), "expected exactly dtype, shape"),
    "missing field": (file_bytes({"a": {"dtype": "F32", "shape": [2]}}), "expected exactly"),
    "extra field": (file_bytes({"a": entry(offset=0)}), "expected exactly"),
    "unknown dtype": (file_bytes({"a": entry(dtype="Q4")}), "dtype 'Q4'; known are"),
    "packed dtype": (file_bytes({"a": entry(dtype="F4", shape=(16,))}), "dtype 'F4'; known are"),
    "dtype no text": (file_bytes({"a": entry(dtype=["F32"])}), "known are"),
    "negative size": (file_bytes({"a": entry(shape=(-2,))}), r"shape \[-2\]"),
    "two negative sizes": (file_bytes({"a": entry(shape=(-1, -2))}), r"shape \[-1, -2\]"),
    "fractional size": (file_bytes({"a": entry(shape=(2.0,))}), r"shape \[2.0\]"),
    "boolean size": (file_bytes({"a": entry(shape=(True, 2))}), r"shape \[True, 2\]"),
    "text size": (file_bytes({"a": {"dtype": "F32", "shape": "2", "data_offsets": [0, 8]}}), "shape 2"),
    "rank": (file_bytes({"a": entry(shape=(1,) * 100 + (2,))}), "up to 32 sizes"),
    "overflow to 8": (file_bytes({"a": entry(shape=(1 << 62, 4, 2))}), "expected up to"),
    "overflow to 0": (file_bytes({"a": entry(shape=(1 << 32, 1 << 32), offsets=(0, 0))}, b""), "expected up to"),
    "huge and empty": (file_bytes({"a": entry(shape=(0, 1 << 61), offsets=(0, 0))}, b""), "expected up to"),
    "negative offset": (file_bytes({"a": entry(offsets=(-8, 0))}), "data_offsets"),
    "offsets reversed": (file_bytes({"a": entry(offsets=(8, 0))}), "data_offsets"),
    "three offsets": (file_bytes({"a": entry(offsets=(0, 4, 8))}), "data_offsets"),
    "shape and bytes": (file_bytes({"a": entry(shape=(3,))}), r"has 8 bytes, but its shape \(3,\) of F32 takes 12"),
    "hole at the start": (file_bytes({"a": entry(offsets=(8, 16))}, b"\0" * 16), "leaves a hole"),
    "hole": (file_bytes({"a": entry(), "b": entry(offsets=(12, 20))}, b"\0" * 20), "'b' leaves a hole"),
    "overlap": (file_bytes({"a": entry(), "b": entry(offsets=(4, 12))}, b"\0" * 12), "'b' overlaps"),
    "same bytes": (file_bytes({"a": entry(), "b": entry()}), "overlaps"),
    "truncated data": (file_bytes(GOOD, b"\0" * 7), "The file is truncated"),
    "data far behind the end": (file_bytes({"a": entry(shape=(1 << 40,), offsets=(0, 1 << 42))}), "truncated"),
    "trailing data": (file_bytes(GOOD, b"\0" * 9), "something behind the tensors"),
    "metadata no text": (file_bytes({"__metadata__": {"a": 1}, **GOOD}), "__metadata__"),
    "metadata no object": (file_bytes({"__metadata__": "pt", **GOOD}), "__metadata__"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_files_are_refused(case, tmp_path):
    content, match = HOSTILE[case]
    tracemalloc.start()
    try:
        with pytest.raises(CheckpointError, match=match) as caught:
            read(tmp_path, content)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert "model.safetensors" in str(caught.value)
    assert len(str(caught.value)) < 2000
    assert peak < 8 * len(content) + 2_000_000


def test_header_longer_than_one_request(tmp_path):
    tensors = {f"layer.{index}.weight": np.full((3,), index, np.float32) for index in range(5000)}
    safetensors.numpy.save_file(tensors, tmp_path / "model.safetensors")
    header = read_header(open_repository(tmp_path, Access()), "model.safetensors")
    assert len(header.tensors) == 5000
    assert header.tensors["layer.7.weight"].shape == (3,)


def test_empty_tensors_may_lie_anywhere(tmp_path):
    header = {
        "b": entry(shape=(0, 4), offsets=(8, 8)),
        "a": entry(offsets=(0, 8)),
        "c": entry(shape=(0,), offsets=(0, 0)),
    }
    assert set(read(tmp_path, file_bytes(header)).tensors) == {"a", "b", "c"}
    assert {name for name, _ in safetensors.deserialize(file_bytes(header))} == {"a", "b", "c"}


def test_positions(tmp_path):
    text = json.dumps({"__metadata__": {"format": "pt"}, "b": entry(offsets=(8, 16)), "a": entry()}).encode() + b"   "
    header = read(tmp_path, file_bytes(text, b"\0" * 16))
    assert header.metadata == {"format": "pt"}
    assert [(info.name, info.offset) for info in header.tensors.values()] == [
        ("a", 8 + len(text)),
        ("b", 16 + len(text)),
    ]
    assert header.tensors["a"].stored == "F32"


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damaged_files_agree_with_the_reference_reader(tmp_path, data):
    """Bytes changed anywhere: never another exception, and nothing is accepted that safetensors refuses."""
    content = bytearray(
        file_bytes({"__metadata__": {"k": "v"}, "a": entry(), "bb": entry(offsets=(8, 16))}, b"\1" * 16)
    )
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    content = bytes(content[: data.draw(st.one_of(st.just(len(content)), st.integers(0, len(content))))])
    try:
        header = read(tmp_path, content)
    except CheckpointError:
        return
    accepted = {name: tensor["shape"] for name, tensor in safetensors.deserialize(content)}
    assert {name: list(info.shape) for name, info in header.tensors.items()} == accepted
