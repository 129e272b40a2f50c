"""Questions about pages: pipeline, command and Auto classes, against transformers' pipeline on the same checkpoint."""

import importlib.util
import json
from pathlib import Path

import intermodal
import numpy as np
import pytest
from intermodal.errors import InputError
from intermodal.testing.reference import assert_close


def beside(name):
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


R = beside("document_reference")
TINY = {**beside("test_layoutlmv2_conformance").TINY, "vocab_size": len(R.VOCABULARY)}
WORD_BOXES = list(zip(R.WORDS, R.boxes(), strict=True))
LONG = [(word, box) for _ in range(4) for word, box in WORD_BOXES]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    target = tmp_path_factory.mktemp("documents")
    return target, R.save(target, TINY)


@pytest.fixture(scope="module")
def theirs(checkpoint):
    import transformers

    _, model = checkpoint
    processor = R.processor()
    made = transformers.DocumentQuestionAnsweringPipeline(
        model=model, tokenizer=processor.tokenizer, image_processor=processor.image_processor, device="cpu"
    )
    return made


@pytest.fixture(scope="module")
def ours(checkpoint):
    return intermodal.pipeline("document-question-answering", checkpoint[0], progress=False)


CALLS = {
    "one": (WORD_BOXES, {}),
    "three": (WORD_BOXES, {"top_k": 3}),
    "all": (WORD_BOXES, {"top_k": 100}),
    "short answers": (WORD_BOXES, {"top_k": 5, "max_answer_len": 2}),
    "none is possible": (WORD_BOXES, {"top_k": 4, "handle_impossible_answer": True}),
    "several rows": (LONG, {"top_k": 5, "max_seq_len": 24, "doc_stride": 6}),
    "rows by default": (LONG, {"top_k": 5}),
}


@pytest.mark.backend
@pytest.mark.parametrize("call", CALLS)
def test_answers_are_those_of_transformers(call, ours, theirs):
    words, options = CALLS[call]
    got = ours(image=R.page(), question=R.QUESTION, word_boxes=words, **options)
    assert_same(got, theirs(R.page(), R.QUESTION, words, **options))


def test_lists_and_batches_give_what_single_questions_give(ours, theirs):
    items = [
        {"image": R.page(number), "question": question, "word_boxes": words}
        for number, (question, words) in enumerate([(R.QUESTION, WORD_BOXES), ("When?", LONG), ("EUR", WORD_BOXES[:3])])
    ]
    expected = theirs(items, top_k=2)
    for size in (1, 2, 8):
        for got, wanted in zip(ours(items, top_k=2, batch_size=size), expected, strict=True):
            assert_same(got, wanted)
    assert_same(next(iter(ours(iter(items), top_k=2))), expected[0])


def assert_same(got, expected):
    assert [answer["answer"] for answer in got] == [answer["answer"] for answer in expected]
    assert [(a["start"], a["end"]) for a in got] == [(a["start"], a["end"]) for a in expected]
    np.testing.assert_allclose([a["score"] for a in got], [a["score"] for a in expected], rtol=1e-4, atol=1e-7)


REFUSED = {
    "no question": ({"image": R.page()}, {}, "question"),
    "no image": ({"question": "What?", "word_boxes": WORD_BOXES}, {}, "page's image"),
    "neither image nor words": ({"question": "What?"}, {}, "neither an image nor words"),
    "words without boxes": ({"image": R.page(), "question": "What?", "word_boxes": R.WORDS}, {}, "list of pairs"),
    "another key": ({"image": R.page(), "question": "What?", "words": []}, {}, "word_boxes"),
    "an unknown keyword": (
        {"image": R.page(), "question": "What?"},
        {"max_question_len": 3},
        "takes no max_question_len",
    ),
    "no answers": ({"image": R.page(), "question": "What?"}, {"top_k": 0}, "top_k=0"),
    "an image on the web": (
        {"image": "https://example.org/page.png", "question": "What?", "word_boxes": WORD_BOXES},
        {},
        "is not fetched",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_no_question_about_a_page_is_refused(case, ours):
    item, options, message = REFUSED[case]
    with pytest.raises(InputError, match=message):
        ours(item, **options)


def test_command_prints_what_the_pipeline_returns(checkpoint, ours, tmp_path, capsys):
    from intermodal.commands import main

    R.page().save(tmp_path / "page.png")
    (tmp_path / "words.json").write_text(json.dumps(WORD_BOXES))
    arguments = ["ask-document", str(checkpoint[0]), str(tmp_path / "page.png"), R.QUESTION]
    assert main([*arguments, "--words", str(tmp_path / "words.json"), "--top-k", "2", "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert_same(printed, ours(R.page(), R.QUESTION, WORD_BOXES, top_k=2))
    (tmp_path / "words.json").write_text("{")
    assert main([*arguments, "--words", str(tmp_path / "words.json")]) == 1
    assert "no words of a page can be read" in capsys.readouterr().err


@pytest.mark.backend
def test_auto_classes_load_what_transformers_computes(checkpoint):
    folder, reference = checkpoint
    import torch

    model = intermodal.AutoModelForDocumentQuestionAnswering.from_pretrained(folder, progress=False)
    encoded = R.processor()(R.page(), R.QUESTION, R.WORDS, boxes=R.boxes(), return_tensors="pt")
    with torch.no_grad():
        expected = reference(**{**encoded, "image": encoded["image"].float()})
    outputs = model(**{name: values.numpy() for name, values in encoded.items()})
    assert_close(outputs.start_logits, expected.start_logits.numpy())
    assert_close(outputs.end_logits, expected.end_logits.numpy())
    with pytest.warns(UserWarning, match="NEW and random"):
        tokens = intermodal.AutoModelForTokenClassification.from_pretrained(folder, num_labels=3, progress=False)
    assert tokens(**{name: values.numpy() for name, values in encoded.items()}).logits.shape[-1] == 3


@pytest.mark.backend
def test_training_leaves_statistics_of_norms_alone(checkpoint):
    """`fit` changes linears and convolutions, and no batch norm, as under detectron2."""
    import keras

    model = intermodal.load(checkpoint[0], "token-classification", config={"num_labels": 3}, progress=False)
    encoded = R.processor()(
        [R.page(), R.page(1)], [R.WORDS, R.WORDS], boxes=[R.boxes(), R.boxes()], return_tensors="np"
    )
    inputs = {name: np.asarray(values).astype("int32") for name, values in encoded.items()}
    before = {name: np.array(keras.ops.convert_to_numpy(v.value)) for name, v in model.backbone.by_name.items()}
    model.compile(
        optimizer=keras.optimizers.SGD(0.1), loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    )
    model.fit(inputs, np.ones(inputs["input_ids"].shape, "int32"), epochs=1, verbose=0)
    changed = {
        name
        for name, v in model.backbone.by_name.items()
        if not np.array_equal(before[name], keras.ops.convert_to_numpy(v.value))
    }
    assert not {name for name in changed if ".norm." in name}
    assert "visual.backbone.bottom_up.stem.conv1.weight" in changed
    assert "encoder.layer.0.attention.self.query.weight" in changed
