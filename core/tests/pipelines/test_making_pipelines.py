"""Making pipelines: names, what a checkpoint is for, keywords, what is refused, and inputs that stream through."""

import shutil

import intermodal
import pytest
from intermodal.errors import InputError, SourceError, TaskError, TokenizerError

from .conftest import TEXTS, assert_same, encoder


@pytest.fixture(scope="module")
def classifier(tmp_path_factory):
    return encoder(tmp_path_factory.mktemp("classifier"), "SequenceClassification", num_labels=3)


@pytest.fixture(scope="module")
def classify(classifier):
    return intermodal.pipeline("text-classification", classifier)


def test_the_checkpoint_says_its_task(classifier, classify, tmp_path):
    found = intermodal.pipeline(model=classifier, top_k=2)
    assert found.task == "text-classification"
    assert_same(found(TEXTS), classify(TEXTS, top_k=2))
    assert intermodal.pipeline(model=intermodal.load(classifier)).task == "text-classification"
    assert intermodal.pipeline(model=encoder(tmp_path, "PreTraining")).task == "fill-mask"


def test_a_generator_is_read_no_further_than_its_results(classify):
    taken = []

    def texts():
        for text in TEXTS * 50:
            taken.append(text)
            yield text

    results = classify(texts(), batch_size=2)
    assert taken == []
    first = [next(results) for _ in range(3)]
    assert len(taken) == 4
    assert_same(first, classify(TEXTS[:3]))


def test_a_dataset_streams_through(classify):
    class Dataset:
        def __len__(self):
            return len(TEXTS)

        def __getitem__(self, index):
            return TEXTS[index] if index < len(TEXTS) else (_ for _ in ()).throw(IndexError)

    results = classify(Dataset(), batch_size=3)
    assert not isinstance(results, list)
    assert_same(list(results), classify(TEXTS))


def test_batches_change_nothing(classify):
    for size in (1, 2, 3, 8):
        assert_same(classify(TEXTS * 2, batch_size=size), classify(TEXTS) * 2)


def test_options_of_the_pipeline_hold_unless_a_call_says_otherwise(classifier):
    two = intermodal.pipeline("sentiment-analysis", classifier, top_k=2, batch_size=2)
    assert [len(result) for result in two(TEXTS[:2])] == [2, 2]
    assert [len(result) for result in two(TEXTS[:2], top_k=None)] == [3, 3]


@pytest.mark.parametrize(
    ("task", "says"),
    [
        ("summarization", "'text-generation'"),
        ("text-clasification", "Did you mean 'text-classification'"),
    ],
)
def test_tasks_without_a_pipeline_are_refused_by_name(task, says):
    with pytest.raises(TaskError, match=says) as refused:
        intermodal.pipeline(task, "org/name")
    assert task in str(refused.value)


def test_unknown_keywords_are_refused_by_name(classifier, classify):
    with pytest.raises(InputError, match="return_all_scores"):
        intermodal.pipeline("text-classification", "org/is-not-asked-for", return_all_scores=True)
    with pytest.raises(InputError, match="return_all_scores"):
        intermodal.pipeline(model=classifier, return_all_scores=True)
    with pytest.raises(InputError, match="takes no num_workers"):
        classify(TEXTS, num_workers=2)
    for size in (0, 2.0, True):
        with pytest.raises(InputError, match="batch_size="):
            classify(TEXTS, batch_size=size)
    with pytest.raises(InputError, match="revision: the model is loaded already"):
        intermodal.pipeline(model=classify.model, revision="main")
    with pytest.raises(SourceError, match="trust_remote_code"):
        intermodal.pipeline("text-classification", classifier, trust_remote_code=True)


def test_random_answers_are_refused(tmp_path):
    folder = encoder(tmp_path, "MaskedLM")
    with pytest.raises(TaskError, match=r"saved for fill-mask, and holds no trained .*classifier"):
        intermodal.pipeline("text-classification", folder)


def test_a_model_for_another_task_and_no_model_are_refused(classify):
    with pytest.raises(TaskError, match=r"intermodal.load\(uri, 'fill-mask'\)"):
        intermodal.pipeline("fill-mask", classify.model)
    with pytest.raises(TaskError, match="Name a checkpoint"):
        intermodal.pipeline("fill-mask")


def test_a_tokenizer_may_come_from_elsewhere(classifier, classify, tmp_path):
    for name in ("config.json", "model.safetensors"):
        shutil.copy(classifier / name, tmp_path)
    with pytest.raises(TokenizerError, match="holds no tokenizer"):
        intermodal.pipeline(model=tmp_path)
    for tokenizer in (classifier, classify.tokenizer):
        assert_same(intermodal.pipeline(model=tmp_path, tokenizer=tokenizer)(TEXTS), classify(TEXTS))
