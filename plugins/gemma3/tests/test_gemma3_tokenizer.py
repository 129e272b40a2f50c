"""The tokenizer of Gemma checkpoints that hold only tokenizer.model: ids of the sentencepiece library."""

import json
import shutil

import intermodal
import pytest
from intermodal.errors import TokenizerError
from intermodal.testing.reference import make_reference, save_reference

sentencepiece = pytest.importorskip("sentencepiece")
pytest.importorskip("torch")

TURNS = ["<start_of_turn>", "<end_of_turn>"]
TEXTS = [
    "the colour of a river is green",
    "  two  spaces\tand a tab\n\n\nand lines  ",
    "12345 3.14 DON'T naïve — ½",
    "日本語 русский 👩‍👩‍👧 e\u0301",
    "",
    "one two   three    four  ",
]


def train(folder, **options):
    """Train a vocabulary as Gemma's was: BPE, bytes, digits apart, spaces kept, no space put in front."""
    corpus = folder / "corpus.txt"
    corpus.write_text("\n".join(f"the {n} colours of a river are green, and two lines are red" for n in range(300)))
    settings = {
        "model_type": "bpe",
        "vocab_size": 360,
        "byte_fallback": True,
        "split_digits": True,
        "add_dummy_prefix": False,
        "remove_extra_whitespaces": False,
        "normalization_rule_name": "identity",
        "user_defined_symbols": [*TURNS, "\n", "\n\n", "▁▁", "▁▁▁"],
        **dict(pad_id=0, eos_id=1, bos_id=2, unk_id=3),
        "minloglevel": 2,
        **options,
    }
    sentencepiece.SentencePieceTrainer.train(input=str(corpus), model_prefix=str(folder / "tokenizer"), **settings)


@pytest.fixture(scope="module")
def folder(tiny, tmp_path_factory):
    folder = tmp_path_factory.mktemp("gemma")
    train(folder)
    config = {"tokenizer_class": "GemmaTokenizer", "add_bos_token": True, "add_eos_token": False}
    special = {"pad_token": "<pad>", "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    (folder / "tokenizer_config.json").write_text(json.dumps({**config, **special}))
    return save_reference(make_reference("Gemma3ForCausalLM", {**tiny, "vocab_size": 384}), folder)


@pytest.mark.parametrize("text", TEXTS)
def test_ids_are_those_of_sentencepiece(text, folder):
    reference = sentencepiece.SentencePieceProcessor(str(folder / "tokenizer.model"))
    tokenizer = intermodal.load(folder).tokenizer
    assert tokenizer is not None
    assert list(tokenizer.encode(text)) == [2, *reference.encode(text)]
    assert tokenizer.decode(tokenizer.encode(text), skip_special_tokens=True) == text


def test_turns_are_one_token_each(folder):
    tokenizer = intermodal.load(folder).tokenizer
    assert tokenizer is not None
    text = "<start_of_turn>user\nthe river<end_of_turn>\n"
    ids = list(tokenizer.encode(text, add_special_tokens=False))
    reference = sentencepiece.SentencePieceProcessor(str(folder / "tokenizer.model"))
    assert ids == reference.encode(text)
    assert [ids.count(reference.piece_to_id(turn)) for turn in TURNS] == [1, 1]


def test_runs_of_spaces_behind_a_space_that_is_put_in_front_are_refused(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "copy")
    train(tmp_path / "copy", add_dummy_prefix=True)
    with pytest.raises(TokenizerError, match=r"user-defined pieces with spaces"):
        intermodal.load(tmp_path / "copy")
