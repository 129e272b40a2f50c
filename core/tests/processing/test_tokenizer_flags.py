"""What tokenizer_config.json changes of a tokenizer.json, against transformers; and that loading says so."""

import json
import shutil
import warnings

import pytest
import tokenizers
import transformers
from intermodal.errors import TokenizerError
from intermodal.processing.flags import GOLDEN
from intermodal.processing.load import tokenizer_from_repository
from intermodal.processing.tokenizer import Tokenizer
from intermodal.sources.local import LocalRepository


def load(folder, **overrides) -> Tokenizer:
    parts = tokenizer_from_repository(LocalRepository(folder, str(folder)), overrides)
    assert parts is not None
    return Tokenizer(parts)


@pytest.fixture
def edited(tmp_path):
    """A copy of a folder whose tokenizer_config.json says more."""

    def edit(folder, **config):
        copy = shutil.copytree(folder, tmp_path / "copy", dirs_exist_ok=True)
        path = copy / "tokenizer_config.json"
        old = json.loads(path.read_text()) if path.exists() else {}
        path.write_text(json.dumps({**old, **config}))
        return copy

    return edit


@pytest.fixture(scope="session")
def wordpiece_json_folder(wordpiece_folder, tmp_path_factory):
    folder = tmp_path_factory.mktemp("wordpiece_json")
    transformers.BertTokenizer.from_pretrained(wordpiece_folder).save_pretrained(folder)
    return folder


@pytest.mark.parametrize("bos", [True, False])
@pytest.mark.parametrize("eos", [True, False])
def test_bos_and_eos_count_where_the_user_asks_for_them(bpe_folder, edited, texts, bos, eos):
    flags = {"add_bos_token": bos, "add_eos_token": eos}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        asked, in_file = load(bpe_folder, **flags), load(edited(bpe_folder, **flags))
    theirs = transformers.AutoTokenizer.from_pretrained(bpe_folder, **flags)
    assert asked(texts)["input_ids"] == theirs(texts)["input_ids"]
    theirs = transformers.AutoTokenizer.from_pretrained(edited(bpe_folder, **flags))
    assert in_file(texts)["input_ids"] == theirs(texts)["input_ids"] == load(bpe_folder)(texts)["input_ids"]
    assert load(bpe_folder, add_eos_token=True).encode("a")[0] == asked.bos_token_id


@pytest.mark.parametrize("flag", ["do_lower_case", "strip_accents", "tokenize_chinese_chars"])
def test_normalisation(wordpiece_json_folder, edited, texts, flag):
    folder = edited(wordpiece_json_folder, **{flag: False})
    with pytest.warns(UserWarning, match=f"because of {flag} = false"):
        ours = load(folder)
    theirs = transformers.AutoTokenizer.from_pretrained(folder)
    assert ours(texts) == dict(theirs(texts))


def test_words_take_a_space_before(bpe_folder, texts):
    ours = load(bpe_folder, add_prefix_space=True)
    words = [text.split() for text in texts if text.split()]
    backend = tokenizers.Tokenizer.from_file(str(bpe_folder / "tokenizer.json"))
    backend.pre_tokenizer.add_prefix_space = True
    expected = [encoding.ids for encoding in backend.encode_batch(words, is_pretokenized=True)]
    assert ours(words, is_split_into_words=True)["input_ids"] == expected
    assert ours(words, is_split_into_words=True) != load(bpe_folder)(words, is_split_into_words=True)


def test_a_token_that_is_added_and_changes_ordinary_text(bpe_folder, edited):
    index = tokenizers.Tokenizer.from_file(str(bpe_folder / "tokenizer.json")).get_vocab_size()
    entry = {"content": "hobbit", "special": False, "normalized": False}
    with pytest.warns(UserWarning, match=r"tokens that tokenizer_config\.json adds.*'hobbit'"):
        load(edited(bpe_folder, added_tokens_decoder={str(index): entry}))


def test_files_that_change_nothing_are_silent(bpe_folder, wordpiece_json_folder):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for folder in (bpe_folder, wordpiece_json_folder):
            raw = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
            assert [load(folder).encode(text) for text in GOLDEN] == [raw.encode(text).ids for text in GOLDEN]


def test_flags_that_cannot_be_set(bpe_folder, wordpiece_json_folder):
    with pytest.raises(TokenizerError, match="has no BertNormalizer, so do_lower_case"):
        load(bpe_folder, do_lower_case=False)
    with pytest.raises(TokenizerError, match=r"add_bos_token=True.*bos_token=…"):
        load(wordpiece_json_folder, add_bos_token=True)
