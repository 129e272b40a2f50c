"""The commands that run pipelines: what they print is what the pipelines return."""

import io
import json

import intermodal
import pytest
from intermodal.commands import main

from .conftest import TEXTS, assert_same, encoder


@pytest.fixture(scope="module")
def classifier(tmp_path_factory):
    labels = {"id2label": {0: "contradiction", 1: "neutral", 2: "entailment"}}
    return encoder(tmp_path_factory.mktemp("classifier"), "SequenceClassification", **labels)


def test_classify_prints_labels(classifier, capsys, monkeypatch):
    expected = intermodal.pipeline(model=classifier)(TEXTS[:2], top_k=None)
    assert main(["classify", str(classifier), *TEXTS[:2], "--json"]) == 0
    assert_same(json.loads(capsys.readouterr().out), expected)
    monkeypatch.setattr("sys.stdin", io.StringIO("\n".join(TEXTS[:2]) + "\n\n"))
    assert main(["classify", str(classifier), "--top-k", "1"]) == 0
    head, *lines = capsys.readouterr().out.splitlines()
    assert head.split() == ["text", "label", "score"]
    assert [line.split()[-2] for line in lines] == [each[0]["label"] for each in expected]


def test_classify_takes_labels_of_your_own(classifier, capsys):
    assert main(["classify", str(classifier), TEXTS[0], "--labels", "cat,dog", "--json"]) == 0
    expected = intermodal.pipeline("zero-shot-classification", classifier)([TEXTS[0]], candidate_labels=["cat", "dog"])
    assert_same(json.loads(capsys.readouterr().out), expected)


def test_fill_mask_label_tokens_and_answer(tmp_path, capsys):
    masked = encoder(tmp_path / "masked", "MaskedLM")
    assert main(["fill-mask", str(masked), "the [MASK] sat.", "--json", "--top-k", "2"]) == 0
    expected = intermodal.pipeline(model=masked)("the [MASK] sat.", top_k=2)
    assert_same(json.loads(capsys.readouterr().out), [expected])
    assert main(["fill-mask", str(masked), "the [MASK] [MASK]", "--top-k", "2"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 5

    labelled = encoder(tmp_path / "labelled", "TokenClassification", num_labels=3)
    assert main(["label-tokens", str(labelled), TEXTS[0], "--json"]) == 0
    expected = intermodal.pipeline(model=labelled)([TEXTS[0]], aggregation_strategy="simple")
    assert_same(json.loads(capsys.readouterr().out), expected)

    answering = encoder(tmp_path / "answering", "QuestionAnswering")
    assert main(["answer", str(answering), "the cat?", "the cat sat and the dog sat", "--json"]) == 0
    expected = intermodal.pipeline(model=answering)({"question": "the cat?", "context": "the cat sat and the dog sat"})
    assert_same(json.loads(capsys.readouterr().out), [expected])


def test_embed_prints_vectors(tmp_path, capsys):
    folder = encoder(tmp_path, "Model")
    (folder / "modules.json").write_text(
        json.dumps(
            [
                {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
                {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
            ]
        )
    )
    (folder / "1_Pooling").mkdir()
    pooling = {"word_embedding_dimension": 32, "pooling_mode_mean_tokens": True}
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(pooling))
    assert main(["embed", str(folder), *TEXTS, "--json"]) == 0
    vectors = [row["embedding"] for row in json.loads(capsys.readouterr().out)]
    assert_same(vectors, intermodal.load(folder).embed(TEXTS).tolist())


def test_no_text_is_an_error(classifier, capsys, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO("\n"))
    assert main(["classify", str(classifier)]) == 1
    assert "There is no text" in capsys.readouterr().err
