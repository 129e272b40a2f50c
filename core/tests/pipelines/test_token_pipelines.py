"""Token and zero-shot classification: the results of transformers' pipelines on the same checkpoints."""

import intermodal
import pytest
from intermodal.errors import InputError, TaskError

from .conftest import TEXTS, assert_same, decoder, encoder

LABELS = {"id2label": dict(enumerate(["O", "B-PER", "I-PER", "B-LOC", "I-LOC"]))}
ENTAILS = {"id2label": dict(enumerate(["contradiction", "neutral", "entailment"]))}
STRATEGIES = ["none", "simple", "first", "average", "max"]
LONG = "the quick dog and the ☃ lazy cats sat, and " * 8


@pytest.fixture(scope="module")
def taggers(tmp_path_factory, both):
    return both("ner", encoder(tmp_path_factory.mktemp("tags"), "TokenClassification", **LABELS))


@pytest.fixture(scope="module")
def byte_taggers(tmp_path_factory, both):
    folder = decoder(tmp_path_factory.mktemp("bytes"), "LlamaForTokenClassification", **LABELS)
    return both("token-classification", folder)


@pytest.fixture(scope="module")
def judges(tmp_path_factory, both):
    return both(
        "zero-shot-classification", encoder(tmp_path_factory.mktemp("nli"), "SequenceClassification", **ENTAILS)
    )


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("pair", ["taggers", "byte_taggers"])
@pytest.mark.filterwarnings("ignore:Tokenizer does not support real words")
def test_tokens_and_groups_are_those_of_transformers(request, pair, strategy):
    ours, theirs = request.getfixturevalue(pair)
    options = {"aggregation_strategy": strategy, "ignore_labels": []}
    found = ours(TEXTS, batch_size=3, **options)
    assert_same(found, theirs(TEXTS, **options))
    assert_same(ours(TEXTS[2], aggregation_strategy=strategy), theirs(TEXTS[2], aggregation_strategy=strategy))
    assert {len(each) for each in found} != {0}


@pytest.mark.parametrize("strategy", STRATEGIES[1:])
def test_a_long_text_is_cut_into_rows_that_overlap(taggers, strategy):
    ours, theirs = taggers
    options = {"aggregation_strategy": strategy, "stride": 12}
    found = ours(LONG, **options)
    assert_same(found, theirs(LONG, **options))
    assert max(each["end"] for each in found) > 200


@pytest.mark.parametrize("options", [{}, {"delimiter": ""}])
def test_words_that_are_split_already(taggers, options):
    ours, theirs = taggers
    words = [text.split() for text in TEXTS[:2]]
    options = {"is_split_into_words": True, "ignore_labels": [], **options}
    assert_same(ours(words, **options), theirs(words, **options))
    assert_same(ours(words[0], **options), theirs(words[0], **options))


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"aggregation_strategy": "best"}, "expected one of none, simple"),
        ({"stride": 4}, "needs an aggregation_strategy"),
        ({"ignore_labels": "O"}, r"\['O'\]"),
        ({"is_split_into_words": True, "batch_size": 2, "grouped_entities": True}, "takes no grouped_entities"),
    ],
)
def test_options_that_mean_nothing_are_refused(taggers, options, says):
    with pytest.raises(InputError, match=says):
        taggers[0]("the cat", **options)


@pytest.mark.parametrize(
    ("inputs", "options"),
    [
        (TEXTS[1], {"candidate_labels": ["cat", "dog", "hat"]}),
        (TEXTS, {"candidate_labels": "cat, dog", "multi_label": True}),
        (TEXTS[1], {"candidate_labels": ["cat"]}),
        (TEXTS, {"candidate_labels": ["cat", "dog"], "hypothesis_template": "and this sat {}!"}),
        ("the cat " * 80, {"candidate_labels": ["cat", "dog"]}),
    ],
)
def test_candidates_are_judged_as_by_transformers(judges, inputs, options):
    ours, theirs = judges
    assert_same(ours(inputs, batch_size=4, **options), theirs(inputs, **options))


def test_candidates_may_stand_second(judges):
    ours, theirs = judges
    labels = ["cat", "dog"]
    assert_same(ours(TEXTS[0], labels), theirs(TEXTS[0], labels))


def test_a_zero_shot_pipeline_needs_labels_and_a_label_that_entails(judges, tmp_path):
    with pytest.raises(InputError, match="candidate_labels: name at least one"):
        judges[0](TEXTS[0])
    with pytest.raises(InputError, match="hypothesis_template"):
        judges[0](TEXTS[0], candidate_labels=["cat"], hypothesis_template="This is it.")
    folder = encoder(tmp_path, "SequenceClassification", num_labels=3)
    with pytest.raises(TaskError, match="LABEL_0, LABEL_1, LABEL_2"):
        intermodal.pipeline("zero-shot-classification", folder)
    named = intermodal.pipeline("zero-shot-classification", folder, config=ENTAILS)
    assert set(named(TEXTS[0], candidate_labels="a,b")["labels"]) == {"a", "b"}
