"""Streams of ids decode to what all ids decode to, for every kind of decoder, and in linear time."""

import json
import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from intermodal.generation.detokenize import StreamDecoder, decoder_kind
from intermodal.processing.tokenizer import Tokenizer, TokenizerParts
from tokenizers import Tokenizer as Backend
from tokenizers import decoders, models

SPECIAL, ADDED = ["<s>", "</s>"], ["<tool>", "é ", " "]


def with_decoder(decoder, tokens, config=None, model=models.WordLevel) -> Tokenizer:
    vocabulary = {token: index for index, token in enumerate(dict.fromkeys(tokens))}
    backend = Backend(model(vocabulary, unk_token=tokens[0]))
    backend.decoder = decoder
    backend.add_special_tokens(SPECIAL)
    backend.add_tokens(ADDED)
    return Tokenizer(TokenizerParts(backend, {}, config=config or {}))


BYTES = [f"<0x{byte:02X}>" for byte in range(256)]
LETTERS = [chr(byte) for byte in [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]]
LETTERS += [chr(256 + place) for place in range(256 - len(LETTERS))]
PIECES = ["▁", "▁▁", "▁a", "b", "▁b▁", "<unk>", "", "é", "😀", "�"]
WORDS = ["[UNK]", "the", "##s", "'", "n", "t", ".", "?", "##n't", "m", "re", "I", "##.", "n't", "'s", "ve", "##'", ","]
REPLACE, FUSE = decoders.Replace("▁", " "), decoders.Fuse()

TOKENIZERS = {
    "byte level": with_decoder(decoders.ByteLevel(), [*LETTERS, "Ġthe", "ðŁĺĢ", "ï¿½", "ðŁ", "日"]),
    "byte level in a sequence": with_decoder(decoders.Sequence([decoders.ByteLevel()]), LETTERS),
    "sentencepiece": with_decoder(
        decoders.Sequence([REPLACE, decoders.ByteFallback(), FUSE, decoders.Strip(content=" ", left=1)]), PIECES + BYTES
    ),
    "sentencepiece, more spaces": with_decoder(
        decoders.Sequence([REPLACE, FUSE, decoders.Strip(content=" ", left=3)]), PIECES
    ),
    "no prefix": with_decoder(decoders.Sequence([REPLACE, decoders.ByteFallback(), FUSE]), PIECES + BYTES),
    "replace alone": with_decoder(REPLACE, PIECES),
    "metaspace": with_decoder(decoders.Metaspace(), PIECES),
    "metaspace, never": with_decoder(decoders.Metaspace(prepend_scheme="never"), PIECES),
    "wordpiece": with_decoder(decoders.WordPiece(), WORDS),
    "wordpiece, raw": with_decoder(decoders.WordPiece(cleanup=False), WORDS),
    "cleaned up": with_decoder(
        decoders.WordPiece(cleanup=False), WORDS, {"clean_up_tokenization_spaces": True}, models.WordPiece
    ),
    "cleaned up pieces": with_decoder(
        REPLACE, [*"▁'ntmsver.?!,x", "▁'", "n't"], {"clean_up_tokenization_spaces": True}, models.WordPiece
    ),
    "none": with_decoder(None, WORDS),
    "words with an end": with_decoder(decoders.BPEDecoder(), ["the</w>", "a", "b</w>"]),
    "replaced across tokens": with_decoder(decoders.Sequence([FUSE, decoders.Replace("ab", "c")]), ["a", "b", "x"]),
    "ctc": with_decoder(decoders.CTC(pad_token="a"), ["a", "b", "|"]),
}


@pytest.mark.parametrize("name", TOKENIZERS)
@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_a_stream_decodes_to_the_whole(name, data):
    tokenizer = TOKENIZERS[name]
    some = data.draw(st.lists(st.integers(0, len(tokenizer) + 1), min_size=2, max_size=6))
    ids = data.draw(st.lists(st.sampled_from(some), min_size=1, max_size=24))
    decoder = StreamDecoder(tokenizer)
    pieces = [decoder.push(index) for index in ids]
    assert "".join(pieces) + decoder.flush() == tokenizer.decode(ids, skip_special_tokens=True)


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(text=st.text(max_size=30), noise=st.lists(st.integers(0, 499), max_size=8))
def test_real_tokenizers(bpe_folder, sentencepiece_bpe_folder, load_cached, text, noise):
    for folder in (bpe_folder, sentencepiece_bpe_folder):
        tokenizer = load_cached(folder)
        ids = tokenizer.encode(text) + noise + tokenizer.encode(text)
        decoder = StreamDecoder(tokenizer)
        assert "".join(map(decoder.push, ids)) + decoder.flush() == tokenizer.decode(ids, skip_special_tokens=True)


def test_text_comes_as_early_as_it_is_certain(bpe_folder, sentencepiece_bpe_folder, load_cached):
    for folder in (bpe_folder, sentencepiece_bpe_folder):
        tokenizer = load_cached(folder)
        decoder, ids = StreamDecoder(tokenizer), tokenizer.encode("Hi 😀, the fox", add_special_tokens=False)
        shown = ""
        for count, index in enumerate(ids, start=1):
            shown += decoder.push(index)
            whole = tokenizer.decode(ids[:count], True)
            if not whole.endswith(("�", "😀")):
                assert shown == whole


def test_which_decoders_are_followed_token_by_token():
    followed = {name: decoder_kind(tokenizer.backend.decoder)[0] for name, tokenizer in TOKENIZERS.items()}
    assert {name for name, kind in followed.items() if kind == "whole"} == {
        "words with an end",
        "sentencepiece, more spaces",
        "replaced across tokens",
        "ctc",
    }


def test_a_space_taken_off_the_end_is_not_known_before():
    decoder = decoders.Sequence([FUSE, decoders.Strip(content=" ", right=1)])
    assert decoder_kind(decoder) == ("whole", False)
    tokenizer = with_decoder(decoder, ["a", " "])
    stream = StreamDecoder(tokenizer)
    assert [stream.push(index) for index in (0, 1, 1)] == ["", "", ""]
    assert stream.flush() == tokenizer.decode([0, 1, 1]) == "a "


def test_decoding_takes_linear_time(bpe_folder, load_cached):
    tokenizer = load_cached(bpe_folder)
    invalid = tokenizer.encode("é", add_special_tokens=False)[:1]

    def seconds(count: int) -> float:
        decoder, start = StreamDecoder(tokenizer), time.process_time()
        for _ in range(count):
            decoder.push(invalid[0])
        decoder.flush()
        return time.process_time() - start

    seconds(1000)
    assert seconds(40_000) < 30 * seconds(4_000) + 0.1


def test_byte_letters_are_those_of_tokenizers():
    from intermodal.generation.detokenize import token_bytes
    from tokenizers import pre_tokenizers

    assert {token_bytes(letter) for letter in pre_tokenizers.ByteLevel.alphabet()} == {bytes([i]) for i in range(256)}
    encode = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    for text in ("é 😀\n", "\x00\x7f\xad"):
        assert token_bytes(encode.pre_tokenize_str(text)[0][0]) == text.encode()
    assert json.loads(decoders.ByteLevel().__getstate__())["type"] == "ByteLevel"
