"""Text classification, masks and features: the results of transformers' pipelines on the same checkpoints."""

import copy

import intermodal
import numpy as np
import pytest
from intermodal import compiled
from intermodal.errors import InputError
from intermodal.tasks import packing

from .conftest import TEXTS, assert_same, decoder, encoder


@pytest.fixture(scope="module")
def classifiers(tmp_path_factory, both):
    return both(
        "text-classification", encoder(tmp_path_factory.mktemp("three"), "SequenceClassification", num_labels=3)
    )


@pytest.fixture(scope="module")
def maskers(tmp_path_factory, both):
    return both("fill-mask", encoder(tmp_path_factory.mktemp("masks"), "MaskedLM"))


@pytest.fixture(scope="module")
def extractors(tmp_path_factory, both):
    return both("feature-extraction", encoder(tmp_path_factory.mktemp("features"), "Model"))


@pytest.mark.parametrize(
    ("inputs", "options"),
    [
        (TEXTS[0], {}),
        (TEXTS, {}),
        (TEXTS, {"batch_size": 3}),
        ([TEXTS[0]], {"top_k": 1}),
        (TEXTS[0], {"top_k": None}),
        (TEXTS, {"top_k": 2, "batch_size": 2}),
        ({"text": TEXTS[0], "text_pair": TEXTS[1]}, {}),
        ([{"text": TEXTS[0], "text_pair": TEXTS[1]}], {"function_to_apply": "sigmoid"}),
        (TEXTS[1], {"function_to_apply": "none", "truncation": True, "max_length": 5}),
        ([], {}),
    ],
)
def test_labels_are_those_of_transformers(classifiers, inputs, options):
    ours, theirs = classifiers
    if inputs:
        assert_same(ours(inputs, **options), theirs(inputs, **options))
    else:
        assert ours(inputs) == []


@pytest.mark.skipif(compiled.for_cpu("jax") is None, reason="no compiled kernels, which tell texts apart")
def test_texts_of_a_batch_are_read_side_by_side(classifiers, monkeypatch):
    def count(model, inputs, of=packing.computed):
        read.append(inputs["input_ids"].shape)
        return of(model, inputs)

    read = []
    monkeypatch.setattr(packing, "computed", count)
    ours, theirs = classifiers
    assert_same(ours(TEXTS, batch_size=len(TEXTS), top_k=None), theirs(TEXTS, top_k=None))
    assert [rows for rows, _ in read] == [1]


@pytest.mark.parametrize(
    "fields",
    [
        {"num_labels": 1},
        {"num_labels": 2, "problem_type": "multi_label_classification"},
        {"num_labels": 1, "problem_type": "regression", "id2label": {0: "warmth"}},
        {"id2label": {0: "dull", 1: "fine"}, "label2id": {"dull": 0, "fine": 1}},
    ],
)
def test_the_config_says_what_makes_scores(tmp_path, both, fields):
    ours, theirs = both("sentiment-analysis", encoder(tmp_path, "SequenceClassification", **fields), top_k=None)
    assert_same(ours(TEXTS[0]), theirs(TEXTS[0]))
    assert_same(ours(TEXTS[:2]), theirs(TEXTS[:2]))


def test_a_decoder_classifies_whatever_the_batch(tmp_path, both):
    ours, theirs = both("text-classification", decoder(tmp_path, "LlamaForSequenceClassification", num_labels=3))
    assert_same(ours(TEXTS, batch_size=4, top_k=None), theirs(TEXTS, top_k=None))


@pytest.mark.parametrize(
    ("inputs", "options"),
    [
        ("the [MASK] sat.", {}),
        (["the [MASK] sat.", "this dog and [MASK]"], {"batch_size": 2}),
        (["the [MASK] sat."], {"top_k": 2}),
        ("the [MASK] [MASK] and the hat", {"top_k": 3}),
        ("the [MASK] sat.", {"targets": ["cat", "dog", "dog"]}),
        ("the [MASK] sat.", {"targets": "hat", "top_k": 3}),
        ("this [MASK] and that", {"tokenizer_kwargs": {"truncation": True, "max_length": 4}}),
    ],
)
def test_masks_are_filled_as_by_transformers(maskers, inputs, options):
    ours, theirs = maskers
    assert_same(ours(inputs, **options), theirs(inputs, **options))


def test_a_target_beyond_the_vocabulary_stands_for_its_first_token(maskers):
    ours, theirs = maskers
    with pytest.warns(UserWarning, match="'quick' is not in the vocabulary"):
        got = ours("the [MASK] sat.", targets=["quick", "cat"])
    assert_same(got, theirs("the [MASK] sat.", targets=["quick", "cat"]))


@pytest.mark.parametrize("inputs", [TEXTS[0], TEXTS])
@pytest.mark.parametrize("options", [{}, {"truncation": True, "tokenize_kwargs": {"max_length": 4}}])
def test_features_are_those_of_transformers(extractors, inputs, options):
    ours, theirs = extractors
    got = ours(inputs, batch_size=4, **options)
    assert_same(got, theirs(inputs, **copy.deepcopy(options)))  # transformers writes into the dict it is given


def test_features_come_as_arrays(extractors):
    ours, theirs = extractors
    got = ours(TEXTS[0], return_tensors=True)
    np.testing.assert_allclose(got, theirs(TEXTS[0], return_tensors=True).numpy(), atol=1e-4)


def test_what_is_no_input_is_refused(classifiers, maskers):
    for refused in (7, [7], {"txt": "x"}, [["a", "b"]]):
        with pytest.raises(InputError):
            classifiers[0](refused)
    with pytest.raises(InputError, match=r"no \[MASK\] in 'the cat'"):
        maskers[0]("the cat")
    with pytest.raises(InputError, match="none of them is in"), pytest.warns(UserWarning, match="left out"):
        maskers[0]("[MASK]", targets=[""])


def test_a_text_longer_than_the_model_is_refused_unless_it_is_cut(classifiers):
    long = "the cat " * 60
    with pytest.raises(intermodal.IntermodalError, match="64"):
        classifiers[0](long)
    assert_same(classifiers[0](long, truncation=True), classifiers[1](long, truncation=True))
