"""Saved tokenizers are read by transformers and by ourselves with the same ids, tokens and templates."""

import json

import pytest
from intermodal.errors import TokenizerError
from intermodal.processing.tokenizer import Tokenizer, TokenizerParts
from transformers import AutoTokenizer


@pytest.fixture(params=["bpe", "wordpiece", "sentencepiece", "smollm2"])
def tokenizer(request, bpe_folder, wordpiece_folder, sentencepiece_bpe_folder, load_folder):
    if request.param == "smollm2":
        return load_folder(request.getfixturevalue("smollm2_folder"))
    folders = {"bpe": bpe_folder, "wordpiece": wordpiece_folder, "sentencepiece": sentencepiece_bpe_folder}
    return load_folder(folders[request.param])


@pytest.mark.parametrize("model_type", [None, "llama", "bert"])
def test_transformers_reads_what_is_saved(tokenizer, load_folder, tmp_path, texts, model_type):
    if model_type:
        (tmp_path / "config.json").write_text(json.dumps({"model_type": model_type}))
    tokenizer.chat_templates = {"default": "D\r\n{{ 1 }}é", "tool_use": "T"}
    tokenizer.save_pretrained(tmp_path)
    theirs, again = AutoTokenizer.from_pretrained(tmp_path), load_folder(tmp_path)
    pairs = [(text, "and another") for text in texts]
    for batch in (texts, pairs):
        expected = tokenizer(batch)
        assert expected == dict(theirs(batch)) == again(batch)
    for ids in tokenizer(texts)["input_ids"]:
        assert tokenizer.decode(ids) == theirs.decode(ids) == again.decode(ids)
    assert theirs.special_tokens_map == tokenizer.special_tokens == again.special_tokens
    assert len(theirs) == len(tokenizer) == len(again)
    ours = tokenizer.backend.get_added_tokens_decoder()
    assert {i: str(t) for i, t in theirs.added_tokens_decoder.items()} == {i: str(t) for i, t in ours.items()}
    assert {i: t.special for i, t in theirs.added_tokens_decoder.items()} == {i: t.special for i, t in ours.items()}
    assert theirs.chat_template == again.chat_templates == {"default": "D\n{{ 1 }}é", "tool_use": "T"}
    assert theirs.model_max_length == (tokenizer.model_max_length or theirs.model_max_length)


def test_what_names_code_and_files_is_left_out(bpe_folder, load_folder, tmp_path):
    source = load_folder(bpe_folder)
    config = {
        "auto_map": {"AutoTokenizer": ["a.B", None]},
        "tokenizer_file": "/etc/passwd",
        "name_or_path": "x",
        "add_bos_token": True,
        "padding_side": "left",
        "extra_special_tokens": ["<tool>"],
    }
    Tokenizer(TokenizerParts(source.backend, {"eos_token": "<|im_end|>"}, config=config)).save_pretrained(tmp_path)
    written = json.loads((tmp_path / "tokenizer_config.json").read_text())
    assert written == {
        "padding_side": "left",
        "additional_special_tokens": ["<tool>"],
        "eos_token": "<|im_end|>",
        "model_input_names": ["input_ids", "attention_mask"],
        "tokenizer_class": "PreTrainedTokenizerFast",
    }
    assert not list(tmp_path.glob(".*"))


def test_a_template_name_that_is_a_path_is_refused(bpe_folder, load_folder, tmp_path):
    tokenizer = load_folder(bpe_folder)
    for name in ("../x", "a/b", "", ".hidden", "x\0"):
        tokenizer.chat_templates = {name: "T"}
        with pytest.raises(TokenizerError, match="cannot be a file name"):
            tokenizer.save_pretrained(tmp_path)
    assert not list(tmp_path.iterdir())
