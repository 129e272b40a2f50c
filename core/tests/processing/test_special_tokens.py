"""Special and added tokens from all the files that declare them, against transformers."""

import json

import pytest
from intermodal.errors import TokenizerError
from transformers import AutoTokenizer

TEXT = "a<tool> <pad> <x>b <|im_end|>. x <extra>y"
OBJECT = {"content": "<pad>", "lstrip": True, "rstrip": False, "normalized": False, "single_word": False}

FILES = {
    "nothing": {},
    "a new token": {"tokenizer_config": {"pad_token": "<pad>"}},
    "a token with flags": {"tokenizer_config": {"pad_token": {"__type": "AddedToken", **OBJECT}}},
    "an added token gets a role": {"tokenizer_config": {"eos_token": "<tool>"}},
    "a word gets a role": {"tokenizer_config": {"eos_token": "x"}},
    "the map": {"special_tokens_map": {"pad_token": OBJECT}},
    "the map goes first": {"tokenizer_config": {"pad_token": "<pad>"}, "special_tokens_map": {"pad_token": "<x>"}},
    "unless there is a decoder": {
        "tokenizer_config": {"pad_token": "<pad>", "added_tokens_decoder": {}},
        "special_tokens_map": {"pad_token": "<x>"},
    },
    "a list": {"tokenizer_config": {"additional_special_tokens": ["<x>", "<pad>"]}},
    "a list by its newer name": {"tokenizer_config": {"extra_special_tokens": ["<x>"]}},
    "names of their own": {"tokenizer_config": {"extra_special_tokens": {"image_token": "<x>"}, "boi_token": "<pad>"}},
    "null": {"tokenizer_config": {"pad_token": None, "add_bos_token": True}},
}


def folder_with(files, source, target):
    (target / "tokenizer.json").write_bytes((source / "tokenizer.json").read_bytes())
    for name, content in files.items():
        (target / f"{name}.json").write_text(json.dumps(content))
    return target


def next_id(source) -> int:
    tokenizer = json.loads((source / "tokenizer.json").read_text())
    return len(tokenizer["model"]["vocab"]) + len(tokenizer["added_tokens"])


@pytest.mark.parametrize("name", FILES)
def test_declared_tokens(bpe_folder, load_folder, tmp_path, name):
    check(folder_with(FILES[name], bpe_folder, tmp_path), load_folder)


@pytest.mark.parametrize(
    "flags", [{"special": True}, {"special": False, "lstrip": True}, {"special": True, "rstrip": True}]
)
def test_the_decoder(bpe_folder, load_folder, tmp_path, flags):
    entry = {str(next_id(bpe_folder)): {"content": "<x>", **flags}}
    check(folder_with({"tokenizer_config": {"added_tokens_decoder": entry}}, bpe_folder, tmp_path), load_folder)


def test_added_tokens_json(bpe_folder, load_folder, tmp_path):
    first = next_id(bpe_folder)
    added = {"<x>": first, "<pad>": first + 1}
    files = {"tokenizer_config": {"pad_token": "<pad>"}, "added_tokens": added}
    check(folder_with(files, bpe_folder, tmp_path), load_folder)


def check(folder, load_folder):
    ours, theirs = load_folder(folder), AutoTokenizer.from_pretrained(folder)
    ids = ours.encode(TEXT)
    assert ids == theirs.encode(TEXT)
    assert ours.decode(ids, True) == theirs.decode(ids, skip_special_tokens=True)
    assert ours.special_tokens == theirs.special_tokens_map
    assert len(ours) == len(theirs)


def test_an_id_that_the_vocabulary_would_not_give(bpe_folder, load_folder, tmp_path):
    decoder = {"5000": {"content": "<x>", "special": True}}
    folder = folder_with({"tokenizer_config": {"added_tokens_decoder": decoder}}, bpe_folder, tmp_path)
    with pytest.raises(TokenizerError, match="'<x>' with the id 5000, but its vocabulary would give it"):
        load_folder(folder)


def test_another_id_than_tokenizer_json_has(bpe_folder, load_folder, tmp_path):
    decoder = {"3": {"content": "<tool>", "special": False}}
    folder = folder_with({"tokenizer_config": {"added_tokens_decoder": decoder}}, bpe_folder, tmp_path)
    with pytest.warns(UserWarning, match=r"tokenizer\.json decides"):
        assert load_folder(folder).encode("<tool>") == load_folder(bpe_folder).encode("<tool>")


@pytest.mark.parametrize(
    "config",
    [
        {"pad_token": {"lstrip": True}},
        {"pad_token": {"content": 3}},
        {"pad_token": {"content": "x", "lstrip": "yes"}},
        {"added_tokens_decoder": {"x": {"content": "<x>"}}},
        {"added_tokens_decoder": {"-1": {"content": "<x>"}}},
        {"added_tokens_decoder": ["<x>"]},
        {"added_tokens_decoder": {"600": 3}},
        {"extra_special_tokens": 3},
        {"extra_special_tokens": [3]},
        {"eos_token": 3},
    ],
)
def test_malformed(bpe_folder, load_folder, tmp_path, config):
    with pytest.raises(TokenizerError, match=str(tmp_path)):
        load_folder(folder_with({"tokenizer_config": config}, bpe_folder, tmp_path))
