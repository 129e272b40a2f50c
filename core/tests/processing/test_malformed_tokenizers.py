"""Malformed and hostile tokenizer files: one clear error that names the file, and nothing else."""

import contextlib
import struct

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from intermodal.errors import SourceError, TokenizerError
from intermodal.processing.sentencepiece import build_sentencepiece
from intermodal.processing.sentencepiece_model import parse_sentencepiece

FILES = {
    "tokenizer.json": [b"", b"{", b"[]", b"null", b'{"version": "1.0"}', b"\xff\xfe", b"[" * 100_000, b'{"model": {}}'],
    "tokenizer_config.json": [b"", b'{"eos_token": "x",}', b"[1]", b"\xff", b"[" * 100_000],
    "special_tokens_map.json": [b"{,}", b"3"],
    "added_tokens.json": [b'{"<x>": "y"}', b'{"<x>": -3}', b'{"<x>": 1.5}'],
    "chat_template.jinja": [b"\xff\xfe"],
    "chat_template.json": [b"{"],
}


@pytest.mark.parametrize(("name", "content"), [(name, content) for name in FILES for content in FILES[name]])
def test_malformed_files(bpe_folder, load_folder, tmp_path, name, content):
    (tmp_path / "tokenizer.json").write_bytes((bpe_folder / "tokenizer.json").read_bytes())
    (tmp_path / name).write_bytes(content)
    with pytest.raises(TokenizerError, match=str(tmp_path)):
        load_folder(tmp_path)


@pytest.mark.parametrize("template", [3, [1], [{"name": "x"}], [{"name": 1, "template": "x"}], {"default": 3}])
def test_malformed_templates(bpe_folder, load_folder, tmp_path, template):
    import json

    (tmp_path / "tokenizer.json").write_bytes((bpe_folder / "tokenizer.json").read_bytes())
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"chat_template": template}))
    with pytest.raises(TokenizerError, match="chat_template"):
        load_folder(tmp_path)


def test_absurd_sizes_are_refused_before_reading(load_folder, tmp_path):
    with (tmp_path / "tokenizer.json").open("wb") as file:
        file.truncate(200 << 20)
    with pytest.raises(SourceError, match=r"tokenizer\.json.*expected at most"):
        load_folder(tmp_path)


@pytest.mark.parametrize(
    ("vocab", "merges", "message"),
    [
        (b'{"a": 0}', b"", "lacks 255 of the 256 bytes"),
        (b'{"a": "0"}', b"", "maps tokens to ids"),
        (b'{"a": 5}', b"", "are not 0 to 0"),
        (b'{"a": true}', b"", "maps tokens to ids"),
        (b"[]", b"", "expected an object"),
    ],
)
def test_vocab_json(load_folder, tmp_path, vocab, merges, message):
    (tmp_path / "vocab.json").write_bytes(vocab)
    (tmp_path / "merges.txt").write_bytes(merges)
    (tmp_path / "tokenizer_config.json").write_text('{"tokenizer_class": "GPT2Tokenizer"}')
    with pytest.raises(TokenizerError, match=message):
        load_folder(tmp_path)


def test_merges_txt(bpe_folder, load_folder, tmp_path):
    import tokenizers

    tokenizers.Tokenizer.from_file(str(bpe_folder / "tokenizer.json")).model.save(str(tmp_path))
    (tmp_path / "tokenizer_config.json").write_text('{"tokenizer_class": "GPT2Tokenizer"}')
    for merges, message in (("#version: 0.2\na b c\n", "line 2"), ("ab\n", "line 1"), ("nothing here\n", "nothing")):
        (tmp_path / "merges.txt").write_text(merges)
        with pytest.raises(TokenizerError, match=message):
            load_folder(tmp_path)


# --- tokenizer.model -------------------------------------------------------------------------------------------------


def piece(text: bytes, kind: int = 1) -> bytes:
    body = b"\x0a" + bytes([len(text)]) + text + b"\x15" + struct.pack("<f", -1.0) + b"\x18" + bytes([kind])
    return b"\x0a" + bytes([len(body)]) + body


PIECES = piece(b"<unk>", 2) + piece(b"<s>", 3) + piece(b"</s>", 3) + piece(b"a")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "has 0 pieces"),
        (b"\x0a\xff\xff\xff\xff\x0f", "ends within a field"),
        (b"\x0a\xff", "ends within a number"),
        (b"\x80" * 20, "more than ten bytes"),
        (b"\x0b", "wire type 3"),
        (b"\x08\x01", "a number where a message belongs"),
        (piece(b"\xff"), "not a SentencePiece model"),
        (piece(b"a", 9), "unknown type 9"),
        (b"\x0a\x03\x10\x04a", "ends within a field"),
        (b"\x0a\x02\x10\x04", "a number where a message belongs"),
        (PIECES + b"\x12\x03\x1a\x01a", "a message where a number belongs"),
        (PIECES.replace(struct.pack("<f", -1.0), struct.pack("<f", float("nan"))), "has the score nan"),
        (PIECES + piece(b"a"), "one twice"),
        (PIECES + piece(b""), "empty pieces"),
        (PIECES + b"\x12\x03\xc0\x02\x63", "special ids outside its 4 pieces"),
        (PIECES + b"\x12\x02\x18\x03", "neither unigram nor BPE"),
        (PIECES + b"\x12\x03\xc0\x01\x01", "treat_whitespace_as_suffix"),
        (PIECES + b"\x1a\x02\x28\x00", "escape_whitespaces"),
        (PIECES + b"\x1a\x05\x12\x03abc", "cannot be used"),
        (b"IQ== 0\nIg== 1\n", "tiktoken ranks"),
    ],
)
def test_tokenizer_model(load_folder, tmp_path, data, message):
    (tmp_path / "tokenizer.model").write_bytes(data)
    with pytest.raises(TokenizerError, match=message):
        load_folder(tmp_path)


def test_a_small_tokenizer_model_is_fine(load_folder, tmp_path):
    (tmp_path / "tokenizer.model").write_bytes(PIECES)
    assert load_folder(tmp_path).encode("a</s>") == [0, 3, 2]


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_parse_or_are_refused(data):
    with contextlib.suppress(TokenizerError):
        parse_sentencepiece(data, "tokenizer.model")


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_any_change_of_a_real_file_is_read_or_refused(sentencepiece_bpe_folder, data):
    content = bytearray((sentencepiece_bpe_folder / "tokenizer.model").read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    try:
        backend, _ = build_sentencepiece(bytes(content), {}, "tokenizer.model")
    except TokenizerError:
        return
    backend.encode("Hello, world")
