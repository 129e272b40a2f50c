"""Calling, padding, truncating and decoding, against transformers."""

import subprocess
import sys
import threading

import numpy as np
import pytest
from intermodal.errors import TokenizerError
from intermodal.processing.tokenizer import Tokenizer, TokenizerParts
from transformers import AutoTokenizer, BertTokenizer

BATCH = ["short", "a much longer text, don't you think? 12345", ""]
PAIRS = [("question one?", "an answer"), ("why", "because of a long and winding reason, that is why")]

CALLS = [
    {},
    {"padding": True},
    {"padding": "longest", "padding_side": "left"},
    {"padding": "max_length", "max_length": 12, "truncation": True},
    {"padding": "max_length"},
    {"truncation": True},
    {"truncation": True, "max_length": 7},
    {"truncation": "only_first", "max_length": 60},
    {"truncation": "longest_first", "max_length": 16, "padding": True, "pad_to_multiple_of": 8},
    {"add_special_tokens": False, "padding": True},
    {"return_offsets_mapping": True, "padding": True, "padding_side": "left"},
    {"return_token_type_ids": True},
    {"truncation": False, "max_length": 3},
]


@pytest.fixture(params=["bpe", "wordpiece"])
def both(request, bpe_folder, wordpiece_folder, load_folder):
    if request.param == "bpe":
        ours, theirs = load_folder(bpe_folder), AutoTokenizer.from_pretrained(bpe_folder)
        ours.pad_token = theirs.pad_token = theirs.eos_token
        return ours, theirs
    return load_folder(wordpiece_folder), BertTokenizer.from_pretrained(wordpiece_folder)


@pytest.mark.parametrize("arguments", CALLS, ids=str)
@pytest.mark.parametrize("batch", [BATCH, PAIRS, BATCH[1]], ids=["texts", "pairs", "one"])
def test_calls(both, batch, arguments):
    ours, theirs = both
    expected = dict(theirs(batch, **arguments))
    assert ours(batch, **arguments) == expected
    assert list(ours(batch, **arguments)) == list(expected)


def test_text_pairs_and_arrays(both):
    ours, theirs = both
    first, second = zip(*PAIRS, strict=True)
    assert ours(list(first), list(second)) == dict(theirs(list(first), list(second)))
    assert ours("one", "two") == dict(theirs("one", "two"))
    arrays = ours(BATCH, padding=True, return_tensors="np", return_offsets_mapping=True)
    expected = theirs(BATCH, padding=True, return_tensors="np")
    for name in expected:
        np.testing.assert_array_equal(arrays[name], expected[name])
        assert arrays[name].dtype == np.int32
    assert arrays["offset_mapping"].shape == (*arrays["input_ids"].shape, 2)
    assert ours("one", return_tensors="np")["input_ids"].shape[0] == 1
    assert ours([]) == {name: [] for name in ours.model_input_names}


def test_padding_and_truncation_of_the_file_are_applied_only_when_asked_for(bpe_folder, load_folder, tmp_path):
    import tokenizers

    backend = tokenizers.Tokenizer.from_file(str(bpe_folder / "tokenizer.json"))
    backend.enable_truncation(5)
    backend.enable_padding(pad_token="<|im_end|>", pad_id=backend.token_to_id("<|im_end|>"), length=9)
    backend.save(str(tmp_path / "tokenizer.json"))
    ours, theirs = load_folder(tmp_path), AutoTokenizer.from_pretrained(tmp_path)
    assert ours(BATCH)["input_ids"] == theirs(BATCH)["input_ids"]
    assert ours.pad_token == theirs.pad_token == "<|im_end|>"
    assert ours(BATCH, padding=True)["input_ids"] == theirs(BATCH, padding=True)["input_ids"]
    again = tokenizers.Tokenizer.from_str(ours.to_json())
    assert (again.truncation, again.padding) == (backend.truncation, backend.padding)
    assert ours.backend.truncation is None


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda t: t(3), "got int"),
        (lambda t: t(["a", 3]), "Text 1 is a int"),
        (lambda t: t(["a", ("b", "c")]), "not both"),
        (lambda t: t(["a"], ["b", "c"]), "one text for each of the 1 texts"),
        (lambda t: t("a", padding="left"), "padding='left'"),
        (lambda t: t("a", padding=True, padding_side="up"), "padding_side='up'"),
        (lambda t: t("a", truncation="middle"), "truncation='middle'"),
        (lambda t: t("a", truncation=True, max_length=-1), "max_length=-1"),
        (lambda t: t("a", truncation=True, max_length=True), "max_length=True"),
        (lambda t: t([("a", "b")], truncation=True, max_length=1), "no room for the . special tokens"),
        (lambda t: t(BATCH, return_tensors="np"), "pass padding=True"),
        (lambda t: t("a", return_tensors="mlx"), "return_tensors='mlx'"),
        (lambda t: t.decode([-100]), "got -100"),
        (lambda t: t.decode("text"), "got str"),
        (lambda t: t.decode([0.5]), "got float"),
        (lambda t: setattr(t, "pad_token", "<nothing>"), "no such token"),
    ],
)
def test_arguments_that_mean_nothing(bpe_folder, load_folder, call, message):
    tokenizer = load_folder(bpe_folder)
    tokenizer.pad_token = tokenizer.eos_token
    with pytest.raises(TokenizerError, match=message):
        call(tokenizer)


def test_padding_without_a_padding_token(bpe_folder, load_folder):
    with pytest.raises(TokenizerError, match=r"no padding token.*tokenizer.pad_token = tokenizer.eos_token"):
        load_folder(bpe_folder)(BATCH, padding=True)


def test_ids_of_any_library_are_decoded(both):
    ours, theirs = both
    ids = ours(BATCH, padding=True)["input_ids"]
    expected = theirs.batch_decode(ids)
    import torch

    for batch in (ids, np.array(ids), tuple(map(tuple, ids)), torch.tensor(ids), {"input_ids": ids}):
        assert ours.decode(batch) == expected
    assert ours.batch_decode(np.array(ids)) == expected
    assert ours.decode(np.array(ids[0])) == ours.decode(np.int64(ids[0][1])) or ours.decode(ids[0]) == expected[0]
    assert ours.decode(ids[1][2]) == theirs.decode(ids[1][2])
    assert ours.decode([]) == ""
    assert ours.decode([10**6]) == theirs.decode([10**6])


def test_cleaning_up_spaces(both):
    ours, theirs = both
    text = "do n't , it 's we 've I 'm they 're . what ? ! ' quoted ' x"
    ids = ours.encode(text, add_special_tokens=False)
    for clean in (True, False, None):
        assert ours.decode(ids, clean_up_tokenization_spaces=clean) == theirs.decode(
            ids, clean_up_tokenization_spaces=clean
        )
    ours.config["clean_up_tokenization_spaces"] = theirs.clean_up_tokenization_spaces = True
    assert ours.decode(ids) == theirs.decode(ids)


def test_what_it_knows(both):
    ours, theirs = both
    for role in ("bos", "eos", "pad", "unk", "cls", "sep", "mask"):
        assert getattr(ours, f"{role}_token") == getattr(theirs, f"{role}_token")
        assert getattr(ours, f"{role}_token_id") == getattr(theirs, f"{role}_token_id")
    assert (ours.vocab_size, len(ours), ours.get_vocab()) == (theirs.vocab_size, len(theirs), theirs.get_vocab())
    assert ours.max_id == max(theirs.get_vocab().values())
    assert ours.model_input_names == theirs.model_input_names
    tokens = ["the", *ours.special_tokens.values()]
    assert ours.convert_tokens_to_ids(tokens) == theirs.convert_tokens_to_ids(tokens)
    assert ours.convert_ids_to_tokens([5, 6]) == theirs.convert_ids_to_tokens([5, 6])
    assert bool(ours)
    assert "Tokenizer" in repr(ours)


def test_stop_ids_are_the_eos_token_and_those_of_the_format(bpe_folder, load_folder):
    source = load_folder(bpe_folder)
    tokenizer = Tokenizer(TokenizerParts(source.backend, {"eos_token": "<|im_end|>"}, stop_ids=(3, 7, 3)))
    assert tokenizer.stop_ids == (source.convert_tokens_to_ids("<|im_end|>"), 3, 7)
    assert Tokenizer(TokenizerParts(source.backend, {})).stop_ids == ()


def test_model_max_length(bpe_folder, load_folder):
    tokenizer = load_folder(bpe_folder)
    assert tokenizer.model_max_length == 64
    for limit, expected in ((10**30, None), (1e30, None), (None, None), (512.0, 512), (True, None)):
        tokenizer.config["model_max_length"] = limit
        assert tokenizer.model_max_length == expected


def test_threads_do_not_disturb_each_other(bpe_folder, load_folder):
    tokenizer, text, wrong = load_folder(bpe_folder), "one two three four five " * 20, []
    whole, cut = tokenizer(text)["input_ids"], tokenizer(text, truncation=True, max_length=5)["input_ids"]

    def work(arguments, expected):
        wrong.extend(1 for _ in range(200) if tokenizer(text, **arguments)["input_ids"] != expected)

    options = [({}, whole), ({"truncation": True, "max_length": 5}, cut)] * 2
    threads = [threading.Thread(target=work, args=option) for option in options]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_importing_pulls_in_nothing_heavy():
    program = (
        "import sys, intermodal.processing.load, intermodal.processing.chat, intermodal.generation.stopping\n"
        "import intermodal.generation.detokenize\n"
        "print([name for name in ('keras', 'numpy', 'torch', 'jax', 'transformers', 'jinja2', 'tokenizers')"
        " if name in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
