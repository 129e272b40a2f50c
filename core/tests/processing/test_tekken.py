"""tekken.json and versioned SentencePiece files: the ids of mistral-common, the library they are made for."""

import base64
import importlib.util
import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from intermodal.errors import TokenizerError
from intermodal.processing.load import tokenizer_from_repository
from intermodal.processing.tekken import recovered_merges
from intermodal.processing.tokenizer import Tokenizer
from intermodal.sources import open_repository
from intermodal.sources.base import Access

TEXTS = [
    "",
    "Hello world",
    "1234567890 12 3,141.59",
    "   ",
    "  two  spaces   three ",
    "\n\n\nnew\n  lines\r\n\tand tabs",
    "I'LL don't WON'T they've 'tis",
    "🙂🙃 👩‍👩‍👧‍👦 é e\u0301 日本語 한국어 مرحبا Ω",
    "def f(x):\n    return x**2  # square\n\tif x != 0: pass\n",
    "https://example.org/a/b//c?q=1&r=2",
    "HelloWORLDFooBar snake_case CamelCase naïve ŁÓDŹ",
    "\x00\x01\x7f \u200b\u00a0\u2003",
    "ab" * 600,
    "A" * 1000,
]


def read(folder: Path) -> Tokenizer:
    parts = tokenizer_from_repository(open_repository(str(folder), Access()))
    assert parts is not None
    return Tokenizer(parts)


# --- files that are really used ---------------------------------------------------------------------------------------


def published(name: str) -> Path:
    found = importlib.util.find_spec("mistral_common")
    if found is None or not found.submodule_search_locations:
        pytest.skip("mistral-common is not installed: it brings the files of published tokenizers, and reads them")
    return Path(found.submodule_search_locations[0]) / "data" / name


def theirs(path: Path) -> Any:
    if path.suffix == ".json":
        from mistral_common.tokens.tokenizers.tekken import Tekkenizer

        return Tekkenizer.from_file(path)
    from mistral_common.tokens.tokenizers.sentencepiece import SentencePieceTokenizer

    return SentencePieceTokenizer(path)


def many_texts() -> list[str]:
    choose = random.Random(0)
    letters = "abc ABC 123 \n\t.,;'\"éàüß漢字🙂ابΩж\u00a0"
    return TEXTS + ["".join(choose.choices(letters, k=choose.randint(1, 50))) for _ in range(500)]


@pytest.mark.parametrize(
    ("name", "copied"),
    [
        ("tekken_240718.json", "tekken.json"),
        ("tekken_240911.json", "tekken.json"),
        ("tokenizer.model.v1", "tokenizer.model.v1"),
        ("mistral_instruct_tokenizer_240216.model.v2", "tokenizer.model.v2"),
        ("mistral_instruct_tokenizer_240323.model.v3", "tokenizer.model.v3"),
        ("mistral_instruct_tokenizer_241114.model.v7m1", "tokenizer.model.v7m1"),
    ],
)
def test_published_files_give_the_ids_of_their_own_library(name: str, copied: str, tmp_path: Path) -> None:
    path = published(name)
    reference = theirs(path)
    shutil.copy(path, tmp_path / copied)
    tokenizer = read(tmp_path)
    assert len(tokenizer) == reference.n_words
    for role in ("bos", "eos", "unk"):
        assert getattr(tokenizer, f"{role}_token_id") == getattr(reference, f"{role}_id")
    for text in many_texts():
        ids = reference.encode(text, bos=True, eos=False)
        assert tokenizer.encode(text) == ids, text
        assert tokenizer.decode(ids, True) == reference.decode(ids), text


@pytest.mark.parametrize("name", ["tokenizer.model.v1", "mistral_instruct_tokenizer_240323.model.v3"])
def test_an_unversioned_name_with_the_config_of_published_repositories(name: str, tmp_path: Path) -> None:
    path = published(name)
    shutil.copy(path, tmp_path / "tokenizer.model")
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"add_bos_token": True, "legacy": True}))
    tokenizer, reference = read(tmp_path), theirs(path)
    for text in many_texts():
        assert tokenizer.encode(text) == reference.encode(text, bos=True, eos=False), text


def test_a_chat_in_ids_is_special_tokens_around_text(tmp_path: Path) -> None:
    path = published("tekken_240911.json")
    shutil.copy(path, tmp_path / "tekken.json")
    tokenizer, reference = read(tmp_path), theirs(path)
    assert (tokenizer.pad_token_id, tokenizer.convert_tokens_to_ids("[SYSTEM_PROMPT]")) == (11, 17)
    hello = reference.encode("Hello", bos=False, eos=False)
    assert tokenizer.encode("[INST]Hello[/INST]") == [1, 3, *hello, 4]
    assert tokenizer.decode([1, 3, *hello, 4, 2], skip_special_tokens=True) == "Hello"


def test_what_is_saved_is_read_by_transformers(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    shutil.copy(published("tekken_240718.json"), tmp_path / "tekken.json")
    tokenizer = read(tmp_path)
    tokenizer.save_pretrained(tmp_path / "saved")
    saved = transformers.PreTrainedTokenizerFast.from_pretrained(tmp_path / "saved")
    for text in TEXTS:
        assert saved(text)["input_ids"] == tokenizer.encode(text)
    assert (saved.bos_token, saved.pad_token) == ("<s>", "<pad>")


# --- merges from ranks ------------------------------------------------------------------------------------------------


def encoded_by_ranks(text: bytes, ranks: dict[bytes, int]) -> list[int]:
    """What encoding by ranks means, in its plainest form."""
    if text in ranks:
        return [ranks[text]]
    parts = [text[at : at + 1] for at in range(len(text))]
    while True:
        joined = [(ranks.get(parts[at] + parts[at + 1], len(ranks)), at) for at in range(len(parts) - 1)]
        rank, at = min(joined, default=(len(ranks), 0))
        if rank == len(ranks):
            return [ranks[part] for part in parts]
        parts[at : at + 2] = [parts[at] + parts[at + 1]]


def a_file(tokens: list[bytes], **changes: Any) -> dict[str, Any]:
    vocab = [
        {"rank": rank, "token_bytes": base64.b64encode(token).decode(), "token_str": None}
        for rank, token in enumerate(tokens)
    ]
    config = {
        "pattern": r"\s+|\S+",
        "default_vocab_size": len(tokens) + 20,
        "default_num_special_tokens": 20,
        "version": "v3",
    }
    return {"config": config | changes.pop("config", {}), "vocab": vocab, **changes}


Write = Callable[[dict[str, Any]], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def written(content: dict[str, Any]) -> Path:
        (tmp_path / "tekken.json").write_text(json.dumps(content))
        return tmp_path

    return written


@pytest.mark.parametrize("seed", range(8))
def test_merges_encode_as_ranks_do_whatever_the_vocabulary(seed: int, write: Write) -> None:
    # Made-up tokens are in no order of growth, and merging cannot reach some of them: harder than any real file.
    choose = random.Random(seed)
    made = {bytes(choose.choices(b"aab", k=choose.randint(2, 6))) for _ in range(40)}
    tokens = [*(bytes([value]) for value in range(256)), *choose.sample(sorted(made), len(made))]
    ranks = {token: rank for rank, token in enumerate(tokens)}
    tokenizer = read(write(a_file(tokens)))
    for _ in range(200):
        text = bytes(choose.choices(b"aab", k=choose.randint(1, 24)))
        expected = [20 + rank for rank in encoded_by_ranks(text, ranks)]
        assert tokenizer.encode(text.decode(), add_special_tokens=False) == expected


def test_a_token_that_merging_cannot_reach_has_no_merge() -> None:
    tokens = [bytes([value]) for value in range(256)]
    assert recovered_merges([*tokens, b"xyz"]) == []
    assert recovered_merges([*tokens, b"yz", b"xyz"]) == [(ord("y"), ord("z")), (ord("x"), 256)]


BYTES = [bytes([value]) for value in range(256)]


def test_the_model_may_have_fewer_tokens_than_the_file(write: Write) -> None:
    folder = write(a_file([*BYTES, b"ab", b"cd"], config={"default_vocab_size": 277}))
    tokenizer = read(folder)
    assert len(tokenizer) == 277
    assert tokenizer.encode("ab cd") == [1, 276, 52, 119, 120]


def test_special_tokens_that_the_file_lists(write: Write) -> None:
    listed = [
        {"rank": n, "token_str": name, "is_control": True} for n, name in enumerate(["<unk>", "<s>", "</s>", "<x>"])
    ]
    tokenizer = read(write(a_file(BYTES, special_tokens=listed, config={"version": "v13"})))
    assert tokenizer.convert_ids_to_tokens([2, 3, 4, 19]) == ["</s>", "<x>", "<SPECIAL_4>", "<SPECIAL_19>"]
    assert tokenizer.pad_token is None


@pytest.mark.parametrize(
    ("content", "named"),
    [
        ({}, "config"),
        (a_file(BYTES, config={"pattern": None}), "pattern"),
        (a_file(BYTES, config={"pattern": "("}), "tekken.json"),
        (a_file(BYTES, config={"default_num_special_tokens": -1}), "default_num_special_tokens is -1"),
        (a_file(BYTES, config={"default_vocab_size": 1 << 40}), "default_vocab_size is "),
        (a_file(BYTES, config={"default_vocab_size": 300}), "at least 280 tokens"),
        (a_file(BYTES, config={"version": "v13"}), "'v13' and no special_tokens"),
        (a_file(BYTES, special_tokens=[{"rank": 5, "token_str": "<s>"}]), "special token 0"),
        (a_file([*BYTES, b"ab", b"ab"]), "there twice"),
        (a_file([*BYTES, b"[INST]"]), "spelled as special ones"),
        (a_file([*BYTES, b""]), "none empty"),
        (a_file([*BYTES[1:], b"\x00"]), "256 bytes first"),
        (a_file([*BYTES, b"a" * 20000]), "20000 bytes"),
        ({**a_file(BYTES), "vocab": [{"rank": 0, "token_bytes": "?"}] * 256}, "base64"),
        ({**a_file(BYTES), "vocab": [7] * 256}, "token_bytes"),
    ],
)  # fmt: skip
def test_malformed_files_are_refused_by_what_is_wrong(content: dict[str, Any], named: str, write: Write) -> None:
    with pytest.raises(TokenizerError) as caught:
        read(write(content))
    assert named in str(caught.value)


def test_several_versions_of_one_tokenizer_are_refused(tmp_path: Path) -> None:
    for version in ("v1", "v3"):
        (tmp_path / f"tokenizer.model.{version}").write_bytes(b"")
    with pytest.raises(TokenizerError, match=r"tokenizer.model.v1 and tokenizer.model.v3"):
        read(tmp_path)
