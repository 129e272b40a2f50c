"""Malformed headers: the cases of llama.cpp's tests/test-gguf.cpp and more, each refused by name and at once."""

import struct
import tracemalloc
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import gguf
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from intermodal.errors import CheckpointError, TokenizerError
from intermodal.sources.base import Access
from intermodal.sources.local import LocalSource
from intermodal_gguf.reader import GGUFReader

F32, F16, Q4_0, I8, I64 = 0, 1, 2, 24, 27
U8, U32, I32, F32_VALUE, STRING, ARRAY = 0, 4, 5, 6, 8, 9


def text(value: str | bytes) -> bytes:
    raw = value.encode() if isinstance(value, str) else value
    return struct.pack("<Q", len(raw)) + raw


def pair(key: str | bytes, kind: int, value: bytes) -> bytes:
    return text(key) + struct.pack("<I", kind) + value


def tensor(name: str, dims: tuple[int, ...], kind: int = F32, offset: int = 0, count: int | None = None) -> bytes:
    sizes = b"".join(struct.pack("<Q", size % 2**64) for size in dims)
    return (
        text(name) + struct.pack("<I", len(dims) if count is None else count) + sizes + struct.pack("<IQ", kind, offset)
    )


@dataclass
class File:
    """A GGUF file, byte by byte; the defaults make a good one of two tensors of 32 bytes."""

    magic: bytes = b"GGUF"
    version: int = 3
    pairs: list[bytes] = field(default_factory=lambda: [pair("general.architecture", STRING, text("llama"))])
    tensors: list[bytes] = field(default_factory=lambda: [tensor("a", (8,)), tensor("b", (4, 2), offset=32)])
    n_pairs: int | None = None
    n_tensors: int | None = None
    data: bytes = b"\x01" * 64
    alignment: int = 32

    def build(self) -> bytes:
        n_tensors = len(self.tensors) if self.n_tensors is None else self.n_tensors
        n_pairs = len(self.pairs) if self.n_pairs is None else self.n_pairs
        head = self.magic + struct.pack("<IQQ", self.version, n_tensors, n_pairs)
        head += b"".join(self.pairs) + b"".join(self.tensors)
        return head + b"\0" * (-len(head) % self.alignment) + self.data


def architecture(*more: bytes) -> list[bytes]:
    return [pair("general.architecture", STRING, text("llama")), *more]


def align(value: int, kind: int = U32) -> bytes:
    return pair("general.alignment", kind, struct.pack("<I", value))


HUGE = 2**64 - 1
PADDING_WRAP = (4, 2**30 - 1, 2**30 + 1)

# name in test-gguf.cpp (or our own, in lower case) → the file, and what the error says
CASES: dict[str, tuple[File, str]] = {
    "HEADER_BAD_MAGIC": (File(magic=b"FUGG"), "no GGUF file"),
    "HEADER_BAD_VERSION_0": (File(version=0), "version 0 of GGUF"),
    "HEADER_BAD_VERSION_1": (File(version=1), "version 1 of GGUF"),
    "HEADER_BAD_VERSION_FUTURE": (File(version=4), "version 4 of GGUF"),
    "HEADER_BAD_N_TENSORS": (File(n_tensors=HUGE), "announces 18,446,744,073,709,551,615 tensors"),
    "HEADER_BAD_N_KV": (File(n_pairs=HUGE), "announces 18,446,744,073,709,551,615 keys"),
    "KV_BAD_KEY_SIZE": (File(pairs=[struct.pack("<Q", HUGE) + b"key"]), "key number 0 is said to be"),
    "KV_EMPTY_KEY": (File(pairs=architecture(pair("", U8, b"\1"))), "key number 1 is empty"),
    "KV_BAD_TYPE": (File(pairs=architecture(pair("k", 13, b"\0" * 8))), "'k' has the value type 13"),
    "KV_BAD_VALUE_SIZE": (File(pairs=architecture(pair("k", STRING, struct.pack("<Q", 1 << 40)))), "at most"),
    "KV_DUPLICATE_KEY": (File(pairs=architecture(pair("k", U8, b"\1"), pair("k", U8, b"\1"))), "'k' is there twice"),
    "KV_BAD_ALIGN": (File(pairs=architecture(align(13))), "alignment is 13, expected a power of two"),
    "kv_zero_align": (File(pairs=architecture(align(0))), "alignment is 0, expected a power of two"),
    "KV_WRONG_TYPE_ALIGN": (File(pairs=architecture(align(32, I32))), "alignment has the value type 5"),
    "kv_bad_array_type": (File(pairs=architecture(pair("k", ARRAY, struct.pack("<IQ", 99, 1)))), "element type 99"),
    "kv_bad_array_size": (
        File(pairs=architecture(pair("k", ARRAY, struct.pack("<IQ", F32_VALUE, 1 << 23)))),
        "needs 33,554,432 bytes",
    ),
    "kv_huge_array": (
        File(pairs=architecture(pair("k", ARRAY, struct.pack("<IQ", U8, HUGE)))),
        "elements of the header",
    ),
    "kv_huge_string_array": (File(pairs=architecture(pair("k", ARRAY, struct.pack("<IQ", STRING, 1 << 20)))), "needs"),
    "kv_deep_array": (
        File(pairs=architecture(pair("k", ARRAY, struct.pack("<IQ", ARRAY, 1) * 40))),
        "nested more than",
    ),
    "kv_key_not_utf8": (File(pairs=architecture(pair(b"\xff\xfe", U8, b"\1"))), "key number 1 is not UTF-8"),
    "kv_value_not_utf8": (File(pairs=architecture(pair("k", STRING, text(b"a\xff")))), "not UTF-8"),
    "kv_element_not_utf8": (
        File(pairs=architecture(pair("k", ARRAY, struct.pack("<IQ", STRING, 2) + text("a") + text(b"\xc3")))),
        "element 1 of the array of key 'k' is not UTF-8",
    ),
    "TENSORS_BAD_NAME_SIZE": (File(tensors=[tensor("n" * 64, (8,))]), "64 bytes long, and at most 63"),
    "tensors_huge_name": (File(tensors=[struct.pack("<Q", HUGE)]), "at most 63"),
    "TENSORS_BAD_N_DIMS": (File(tensors=[tensor("a", (1, 1, 1, 1, 8))]), "'a' has 5 dimensions"),
    "tensors_huge_n_dims": (File(tensors=[tensor("a", (8,), count=2**32 - 1)]), "4294967295 dimensions"),
    "TENSORS_BAD_SHAPE": (File(tensors=[tensor("a", (-1,))]), "'a' has the impossible shape"),
    "TENSORS_NE_TOO_BIG": (File(tensors=[tensor("a", (2**33, 2**33))]), "'a' has the impossible shape"),
    "TENSORS_NBYTES_TOO_BIG": (File(tensors=[tensor("a", (2**31, 2**31), I64)]), "'a' has the impossible shape"),
    "TENSORS_NBYTES_PAD_WRAP": (File(tensors=[tensor("a", PADDING_WRAP)]), "'a' has the impossible shape"),
    "tensors_zero_hides_size": (File(tensors=[tensor("a", (0, 2**62, 2**62))]), "'a' has the impossible shape"),
    "TENSORS_BAD_TYPE": (File(tensors=[tensor("a", (8,), 43)]), "'a' is stored as type 43"),
    "tensors_negative_type": (File(tensors=[tensor("a", (8,), 2**32 - 1)]), "'a' is stored as type 4294967295"),
    "tensors_removed_type": (File(tensors=[tensor("a", (32,), 4)]), "'a' is stored as type Q4_2, .* removed"),
    "tensors_internal_type": (File(tensors=[tensor("a", (32,), 9)]), "'a' is stored as type Q8_1"),
    "tensors_partial_block": (File(tensors=[tensor("a", (33,), Q4_0)]), r"'a' of shape \(33,\) has rows of 33 values"),
    "tensors_blocks_of_columns": (File(tensors=[tensor("a", (16, 2), Q4_0)]), "has rows of 16 values"),
    "TENSORS_BAD_OFFSET": (File(tensors=[tensor("a", (8,), offset=HUGE)]), "'a' begins at offset"),
    "tensors_overlap": (File(tensors=[tensor("a", (8,)), tensor("b", (8,))]), "'b' begins at offset 0 .* expected 32"),
    "tensors_hole": (File(tensors=[tensor("a", (8,), offset=32)]), "'a' begins at offset 32 .* expected 0"),
    "TENSORS_DUPLICATE_NAME": (File(tensors=[tensor("a", (8,)), tensor("a", (8,), offset=32)]), "'a' is there twice"),
    "TENSORS_BAD_ALIGN": (File(pairs=architecture(align(13)), alignment=13), "alignment is 13"),
    "TENSORS_INCONSISTENT_ALIGN": (
        File(tensors=[tensor("a", (3,), I8), tensor("b", (3,), I8, 3)], alignment=1),
        "'b' begins at offset 3 .* expected 32",
    ),
    "DATA_NOT_ENOUGH_DATA": (File(data=b"\1" * 63), "'b' .* truncated"),
    "data_none": (File(data=b""), "'a' .* truncated"),
    "DATA_MEM_SIZE_OVERFLOW": (
        File(tensors=[tensor("a", (2**59,), I8), tensor("b", (2**59,), I8, 2**59)]),
        "'a' .* ends at byte 576,460,752,303,423,6",
    ),
    "no_architecture": (File(pairs=[pair("general.name", STRING, text("x"))]), "general.architecture is None"),
    "architecture_no_string": (File(pairs=[pair("general.architecture", U8, b"\1")]), "general.architecture is 1"),
    "adapter": (File(pairs=architecture(pair("general.type", STRING, text("adapter")))), "general.type 'adapter'"),
}


def open_bytes(data: bytes, folder: Path):
    path = folder / "model.gguf"
    path.write_bytes(data)
    return GGUFReader().open(LocalSource().open(str(path), Access()))


@pytest.mark.parametrize("case", CASES)
def test_a_malformed_file_is_refused_by_name(case, tmp_path):
    file, message = CASES[case]
    tracemalloc.start()
    with pytest.raises(CheckpointError, match=message) as caught:
        open_bytes(file.build(), tmp_path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert "model.gguf" in str(caught.value)
    assert peak < 4 << 20, "nothing large is allocated first"


GOOD: dict[str, File] = {
    "HEADER_EMPTY": File(tensors=[], data=b""),
    "DATA_SUCCESS": File(),
    "DATA_CUSTOM_ALIGN": File(
        pairs=architecture(align(1)),
        tensors=[tensor("a", (3,), I8), tensor("b", (3,), I8, 3)],
        alignment=1,
        data=b"\1" * 6,
    ),
    "version_2": File(version=2),
    "trailing_bytes": File(data=b"\1" * 100),
}


@pytest.mark.parametrize("case", GOOD)
def test_the_good_files_beside_them_are_read(case, tmp_path):
    checkpoint = open_bytes(GOOD[case].build(), tmp_path)
    for name in checkpoint.tensors:
        assert set(checkpoint.read(name).tobytes()) == {1}


def test_a_tensor_without_values_is_read_as_such(tmp_path):
    checkpoint = open_bytes(File(tensors=[tensor("a", (32, 0), Q4_0), tensor("b", (0,))], data=b"").build(), tmp_path)
    assert checkpoint.read("a").shape == (0, 32)
    assert checkpoint.read("b").shape == (0,)


def test_a_git_lfs_pointer_is_recognised(tmp_path):
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:0123\nsize 9\n"
    with pytest.raises(CheckpointError, match="git lfs pull"):
        open_bytes(pointer, tmp_path)


def test_every_truncation_is_refused(tmp_path):
    data = File(pairs=architecture(pair("k", ARRAY, struct.pack("<IQ", STRING, 2) + text("ab") + text("c")))).build()
    for length in range(len(data)):
        with pytest.raises(CheckpointError):
            open_bytes(data[:length], tmp_path)


@pytest.fixture(scope="module")
def seed(tmp_path_factory) -> bytes:
    """A small real file with a tokenizer and packed tensors, to be damaged."""
    path = tmp_path_factory.mktemp("seed") / "seed.gguf"
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_context_length(64)
    writer.add_array("nested", [[1, 2], [3]])
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(["a", "b", "ab", "<s>", "<u>"])
    writer.add_token_types([1, 1, 1, 3, 4])
    writer.add_token_merges(["a b"])
    writer.add_bos_token_id(3)
    writer.add_add_bos_token(True)
    writer.add_chat_template("{{ messages }}")
    packed = gguf.quants.quantize(np.ones((2, 64), np.float32), gguf.GGMLQuantizationType.Q4_0)
    writer.add_tensor("packed", packed, raw_dtype=gguf.GGMLQuantizationType.Q4_0)
    writer.add_tensor("plain", np.ones((2, 4), np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path.read_bytes()


def _read_all(data: bytes, folder: Path) -> None:
    try:
        checkpoint = open_bytes(data, folder)
    except CheckpointError:
        return
    for name, info in checkpoint.tensors.items():
        assert checkpoint.read(name).shape == info.shape
    try:
        checkpoint.tokenizer_parts()
    except TokenizerError:
        return


damage = st.lists(
    st.tuples(
        st.floats(0, 1, exclude_max=True),
        st.sampled_from(["flip", "set", "cut", "insert", "word"]),
        st.integers(0, 255),
    ),
    min_size=1,
    max_size=6,
)


@pytest.mark.filterwarnings("ignore:.*no token has this id")
@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(damage=damage)
def test_damage_gives_an_error_or_a_checkpoint_and_nothing_else(seed, tmp_path, damage):
    data = bytearray(seed)
    for where, kind, value in damage:
        position = int(where * len(data))
        actions: dict[str, Callable[[], object]] = {
            "flip": lambda p=position, v=value: data.__setitem__(p, data[p] ^ (1 << v % 8)),
            "set": lambda p=position, v=value: data.__setitem__(p, v),
            "cut": lambda p=position, v=value: data.__delitem__(slice(p, p + v)),
            "insert": lambda p=position, v=value: data.__setitem__(slice(p, p), bytes([v]) * (v % 9)),
            "word": lambda p=position, v=value: data.__setitem__(slice(p, p + 8), struct.pack("<Q", HUGE >> (v % 64))),
        }
        if data:
            actions[kind]()
    _read_all(bytes(data), tmp_path)


@pytest.mark.filterwarnings("ignore:.*no token has this id")
def test_every_single_flipped_bit_gives_an_error_or_a_checkpoint(seed, tmp_path):
    header_end = len(seed) - 128
    for position in range(0, header_end, 3):
        data = bytearray(seed)
        data[position] ^= 1 << position % 8
        _read_all(bytes(data), tmp_path)
