"""Feature extractor, tokenizer and processor against transformers' on the same files and inputs."""

import json

import intermodal
import numpy as np
import pytest
from intermodal.errors import ConfigError, InputError, TokenizerError

transformers = pytest.importorskip("transformers")

LETTERS = ["<pad>", "<s>", "</s>", "<unk>", "|", *"ETAOINSHRDLUCMFW'ÜẞΣ"]
random = np.random.default_rng(9)
LONG, SHORT = (random.standard_normal(n).astype("float32") * 3 + 1 for n in (900, 500))


def write(folder, vocabulary=None, extractor=None, tokenizer=None, architecture="Wav2Vec2ForCTC"):
    """The files of a checkpoint without its weights; what is None is left out."""
    folder.mkdir(exist_ok=True)
    files = {
        "config.json": {"model_type": "wav2vec2", "architectures": [architecture]},
        "vocab.json": vocabulary,
        "preprocessor_config.json": extractor,
        "tokenizer_config.json": tokenizer,
    }
    for name, content in files.items():
        if content is not None:
            (folder / name).write_text(json.dumps(content), encoding="utf-8")
    return folder


def both_extractors(folder, **settings):
    write(folder, extractor={"feature_extractor_type": "Wav2Vec2FeatureExtractor", **settings})
    ours = intermodal.AutoFeatureExtractor.from_pretrained(folder)
    return ours, transformers.AutoFeatureExtractor.from_pretrained(folder)


def same(got, expected):
    assert set(got) == set(expected)
    for name, rows in expected.items():
        assert len(got[name]) == len(rows), name
        for one, other in zip(got[name], rows, strict=True):
            assert one.dtype == other.dtype, name
            np.testing.assert_allclose(one, other, rtol=0, atol=1e-6, err_msg=name)


CALLS = {
    "one": (LONG, {}),
    "float64": (LONG.astype("float64"), {}),
    "a list of numbers": (SHORT.tolist(), {"return_tensors": "np"}),
    "several": ([LONG, SHORT], {}),
    "an array of several": (np.stack([LONG, LONG[::-1]]), {"return_tensors": "np"}),
    "padded": ([LONG, SHORT], {"padding": True, "return_tensors": "np"}),
    "padded and masked": ([LONG, SHORT], {"padding": "longest", "return_attention_mask": True}),
    "padded, no mask": ([SHORT, LONG], {"padding": True, "return_attention_mask": False}),
    "to a length": ([LONG, SHORT], {"padding": "max_length", "max_length": 1000}),
    "to a multiple": ([LONG, SHORT], {"padding": True, "pad_to_multiple_of": 64}),
    "cut": ([LONG, SHORT], {"truncation": True, "max_length": 600, "padding": True}),
    "cut to a multiple": ([LONG, SHORT], {"truncation": True, "max_length": 600, "pad_to_multiple_of": 128}),
    "masked without padding": ([LONG, SHORT], {"return_attention_mask": True}),
}


@pytest.mark.parametrize("case", CALLS)
@pytest.mark.parametrize("settings", [{}, {"return_attention_mask": True}, {"do_normalize": False}])
def test_recordings_become_what_transformers_makes_of_them(tmp_path, case, settings):
    ours, theirs = both_extractors(tmp_path, **settings)
    raw, options = CALLS[case]
    same(ours(raw, sampling_rate=16000, **options), theirs(raw, sampling_rate=16000, **options))


def test_padding_with_another_value(tmp_path):
    ours, theirs = both_extractors(tmp_path, padding_value=0.5, return_attention_mask=True)
    for options in ({"padding": True}, {"padding": True, "return_attention_mask": False}):
        same(ours([LONG, SHORT], sampling_rate=16000, **options), theirs([LONG, SHORT], sampling_rate=16000, **options))


@pytest.mark.parametrize("kind", ["pt", "np"])
def test_tensors(tmp_path, kind):
    ours, theirs = both_extractors(tmp_path)
    got, expected = (f(LONG, sampling_rate=16000, return_tensors=kind)["input_values"] for f in (ours, theirs))
    assert type(got) is type(expected)
    np.testing.assert_allclose(np.asarray(got), np.asarray(expected), atol=1e-6)


def test_what_an_extractor_refuses(tmp_path):
    ours, _ = both_extractors(tmp_path)
    with pytest.raises(InputError, match=r"sampling_rate=8000: the model takes 16000"):
        ours(LONG, sampling_rate=8000)
    with pytest.warns(UserWarning, match="does not say how many these are"):
        ours(LONG)
    with pytest.raises(InputError, match=r"shape \(2, 900\), expected \(samples,\)"):
        ours([np.stack([LONG, LONG])], sampling_rate=16000)
    with pytest.raises(InputError, match="pass padding=True"):
        ours([LONG, SHORT], sampling_rate=16000, return_tensors="np")
    with pytest.raises(InputError, match="need max_length"):
        ours(LONG, sampling_rate=16000, truncation=True)
    for refused in ({"feature_size": 80}, {"padding_side": "left"}, {"sampling_rate": "fast"}):
        write(tmp_path, extractor=refused)
        with pytest.raises(ConfigError, match=next(iter(refused))):
            intermodal.AutoFeatureExtractor.from_pretrained(tmp_path)
    write(tmp_path, extractor={"sampling_rate": 8000, "hop_length": 160})
    with pytest.warns(UserWarning, match="hop_length"):
        assert intermodal.AutoFeatureExtractor.from_pretrained(tmp_path).sampling_rate == 8000


# --- the tokenizer ----------------------------------------------------------------------------------------------------

TOKENIZERS = {
    "as transformers writes it": {"tokenizer_class": "Wav2Vec2CTCTokenizer"},
    "no class named": {"unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>"},
    "lower case": {"tokenizer_class": "Wav2Vec2CTCTokenizer", "do_lower_case": True},
    "another delimiter": {"tokenizer_class": "Wav2Vec2CTCTokenizer", "word_delimiter_token": "W"},
    "another space": {"tokenizer_class": "Wav2Vec2CTCTokenizer", "replace_word_delimiter_char": "_"},
    "tokens that are not in the vocabulary": {
        "tokenizer_class": "Wav2Vec2CTCTokenizer", "bos_token": "<bos>", "eos_token": "<eos>",
    },
}  # fmt: skip
FRAMES = [[5, 5, 0, 5, 6, 4, 4, 0, 7, 7, 1, 12], [4, 0, 9, 9, 4, 4, 13, 13, 0, 13], [0, 0], [3, 3, 2, 8, 20, 4], []]
TEXTS = ["THE TREE", "the tree", " A  B ", "IT'S <unk> ON</s>", "", "x\nT", "STRAßE ΣΣ"]


def both_tokenizers(folder, settings, letters=LETTERS):
    write(folder, {token: index for index, token in enumerate(letters)}, tokenizer=settings)
    ours = intermodal.AutoTokenizer.from_pretrained(folder)
    named = {key: value for key, value in settings.items() if key != "tokenizer_class"}
    # Its from_pretrained passes word_delimiter_token over in version 5, its class does not.
    return ours, transformers.Wav2Vec2CTCTokenizer(str(folder / "vocab.json"), **named)


@pytest.mark.parametrize("case", TOKENIZERS)
@pytest.mark.parametrize("skip", [False, True])
def test_frames_become_text(tmp_path, case, skip):
    ours, theirs = both_tokenizers(tmp_path, TOKENIZERS[case])
    for frames in FRAMES:
        assert ours.decode(frames, skip_special_tokens=skip) == theirs.decode(frames, skip_special_tokens=skip)
        for options in ({"group_tokens": False}, {"spaces_between_special_tokens": True}):
            assert ours.decode(frames, skip, **options) == theirs.decode(frames, skip_special_tokens=skip, **options)
    assert ours.batch_decode(FRAMES) == theirs.batch_decode(FRAMES)


@pytest.mark.parametrize("case", TOKENIZERS)
def test_offsets_of_characters_and_words(tmp_path, case):
    ours, theirs = both_tokenizers(tmp_path, TOKENIZERS[case])
    for frames in FRAMES[:4]:
        got = ours.decode(np.array(frames), output_char_offsets=True, output_word_offsets=True)
        expected = theirs.decode(frames, output_char_offsets=True, output_word_offsets=True)
        assert got.text == expected.text
        assert got.char_offsets == expected.char_offsets
        assert got.word_offsets == expected.word_offsets
    assert ours.batch_decode(FRAMES[:2], output_word_offsets=True).word_offsets == [
        theirs.decode(frames, output_word_offsets=True).word_offsets for frames in FRAMES[:2]
    ]


@pytest.mark.parametrize("case", TOKENIZERS)
def test_texts_become_labels(tmp_path, case):
    ours, theirs = both_tokenizers(tmp_path, TOKENIZERS[case])
    assert len(ours) == len(theirs)
    assert ours.get_vocab() == theirs.get_vocab()
    for text in TEXTS:
        assert ours(text)["input_ids"] == theirs(text)["input_ids"], text
    got, expected = (dict(tokenizer(TEXTS[:2], padding=True)) for tokenizer in (ours, theirs))
    assert got == expected


def test_special_tokens_that_a_vocabulary_lacks_come_behind_it(tmp_path):
    ours, theirs = both_tokenizers(tmp_path, {"tokenizer_class": "Wav2Vec2CTCTokenizer"}, ["[PAD]", "|", "A", "B"])
    assert ours.get_vocab() == theirs.get_vocab()
    assert ours.pad_token_id == theirs.pad_token_id


def test_written_again_it_is_the_same(tmp_path):
    for number, (case, settings) in enumerate(TOKENIZERS.items()):
        ours, _ = both_tokenizers(tmp_path / f"{number}", settings)
        ours.save_pretrained(tmp_path / f"{number} written")
        reader = intermodal.AutoTokenizer if "word_delimiter_token" in settings else transformers.AutoTokenizer
        theirs = reader.from_pretrained(tmp_path / f"{number} written")
        for frames in FRAMES:
            assert theirs.decode(frames) == ours.decode(frames), case
        assert [theirs(text)["input_ids"] for text in TEXTS] == [ours(text)["input_ids"] for text in TEXTS], case


def test_several_languages(tmp_path):
    languages = {"eng": {"<pad>": 0, "|": 1, "A": 2}, "deu": {"<pad>": 0, "|": 1, "Ä": 2}}
    write(tmp_path, languages, tokenizer={"tokenizer_class": "Wav2Vec2CTCTokenizer", "target_lang": "deu"})
    ours = intermodal.AutoTokenizer.from_pretrained(tmp_path)
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path)
    assert ours.decode([2, 2, 1, 2]) == theirs.decode([2, 2, 1, 2]) == "Ä Ä"
    write(tmp_path, languages, tokenizer={"tokenizer_class": "Wav2Vec2CTCTokenizer"})
    with pytest.raises(TokenizerError, match="of 2 languages, and target_lang is None: name one"):
        intermodal.AutoTokenizer.from_pretrained(tmp_path)


def test_what_is_no_vocabulary_of_letters_is_refused(tmp_path):
    ctc = {"tokenizer_class": "Wav2Vec2CTCTokenizer"}
    for vocabulary in ({"A": -1}, {"A": "1"}, {"A": 1, "B": 1}, {}):
        write(tmp_path, vocabulary, tokenizer=ctc)
        with pytest.raises(TokenizerError, match=r"vocab.json"):
            intermodal.AutoTokenizer.from_pretrained(tmp_path)
    write(tmp_path, {"A": 1}, tokenizer={**ctc, "word_delimiter_token": "<sep>"})
    with pytest.raises(TokenizerError, match="expected a single character"):
        intermodal.AutoTokenizer.from_pretrained(tmp_path)
    for tokenizer, architecture in ((None, "Wav2Vec2Model"), ({"tokenizer_class": "VitsTokenizer"}, "Wav2Vec2ForCTC")):
        folder = write(tmp_path / architecture, {"A": 1}, tokenizer=tokenizer, architecture=architecture)
        with pytest.raises(TokenizerError, match="has no tokenizer"):
            intermodal.AutoTokenizer.from_pretrained(folder)


# --- both together ----------------------------------------------------------------------------------------------------


def test_the_processor_is_that_of_transformers(tmp_path):
    letters = {token: index for index, token in enumerate(LETTERS)}
    write(tmp_path, letters, {"return_attention_mask": True}, {"tokenizer_class": "Wav2Vec2CTCTokenizer"})
    ours = intermodal.AutoProcessor.from_pretrained(tmp_path)
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path)
    extractor = transformers.AutoFeatureExtractor.from_pretrained(tmp_path)
    theirs = transformers.Wav2Vec2Processor(extractor, tokenizer)
    theirs.save_pretrained(tmp_path / "theirs")  # with the extractor's settings in processor_config.json
    (tmp_path / "theirs/config.json").write_text((tmp_path / "config.json").read_text())
    for processor in (ours, intermodal.AutoProcessor.from_pretrained(tmp_path / "theirs")):
        got = processor([LONG, SHORT], sampling_rate=16000, padding=True, return_tensors="np")
        same(got, theirs([LONG, SHORT], sampling_rate=16000, padding=True, return_tensors="np"))
        both = processor(audio=LONG, text="TREE", sampling_rate=16000)
        assert both["labels"] == theirs(audio=LONG, text="TREE", sampling_rate=16000)["labels"]
        assert processor(text="TREE")["input_ids"] == theirs(text="TREE")["input_ids"]
        assert processor.batch_decode(FRAMES) == theirs.batch_decode(FRAMES)
    with pytest.raises(InputError, match="needs a recording"):
        ours()


def test_without_a_vocabulary_the_processor_is_the_extractor(tmp_path):
    write(tmp_path, extractor={"do_normalize": False}, architecture="Wav2Vec2ForSequenceClassification")
    assert not intermodal.AutoProcessor.from_pretrained(tmp_path).do_normalize
