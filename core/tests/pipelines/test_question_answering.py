"""Question answering: spans are chosen as transformers chooses them, which kept that code for documents."""

from typing import Any

import intermodal
import numpy as np
import pytest
from intermodal.errors import InputError
from intermodal.pipelines.question_answering import likeliest_spans

from .conftest import assert_same, encoder

QUESTION = "the cat sat?"
CONTEXT = "A lazy dog and the hat, and this quick brown fox sat. " * 4


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return encoder(tmp_path_factory.mktemp("answers"), "QuestionAnswering")


@pytest.fixture(scope="module")
def answer(folder) -> Any:
    return intermodal.pipeline("question-answering", folder)


def expected_answers(folder, question, context, *, top_k=1, length=64, stride=32, max_answer_len=15, impossible=False):
    """The pipeline of transformers 4, put together of what version 5 still has: tokenizer, model, choice of spans."""
    import torch
    import transformers
    from transformers.pipelines.document_question_answering import select_starts_ends

    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.AutoModelForQuestionAnswering.from_pretrained(folder).eval()
    rows = tokenizer(
        [question],
        [context],
        truncation="only_second",
        max_length=length,
        stride=stride,
        return_overflowing_tokens=True,
    )
    answers: dict[str, Any] = {}
    null: Any = 1e6
    for index, encoding in enumerate(rows.encodings):
        names = ("input_ids", "token_type_ids", "attention_mask")
        with torch.no_grad():
            outputs = model(**{name: torch.tensor([rows[name][index]]) for name in names})
        masked = np.array([[which != 1 for which in encoding.sequence_ids]])
        masked[0, 0] = False
        starts, ends, scores, null = select_starts_ends(
            outputs.start_logits.numpy(),
            outputs.end_logits.numpy(),
            masked.astype(int),
            np.array([encoding.attention_mask]),
            null,
            top_k * 2 + 10,
            impossible,
            max_answer_len,
        )
        for start, end, score in zip(starts, ends, scores, strict=True):
            first = encoding.word_to_chars(encoding.token_to_word(int(start)), 1)[0]
            last = encoding.word_to_chars(encoding.token_to_word(int(end)), 1)[1]
            words = context[first:last]
            found = answers.setdefault(words.lower(), {"score": 0.0, "start": first, "end": last, "answer": words})
            found["score"] += float(score)
    empty = [{"score": float(null), "start": 0, "end": 0, "answer": ""}] if impossible else []
    best = sorted([*answers.values(), *empty], key=lambda each: -each["score"])[:top_k]
    return best[0] if len(best) == 1 else best


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, {}),
        ({"top_k": 4, "batch_size": 3}, {"top_k": 4}),
        ({"max_seq_len": 40, "doc_stride": 8}, {"length": 40, "stride": 8}),
        ({"max_answer_len": 3, "top_k": 2}, {"max_answer_len": 3, "top_k": 2}),
        ({"handle_impossible_answer": True, "top_k": 40}, {"impossible": True, "top_k": 40}),
    ],
)
def test_answers_are_those_of_transformers(answer, folder, options, expected):
    got = answer(question=QUESTION, context=CONTEXT, **options)
    assert_same(got, expected_answers(folder, QUESTION, CONTEXT, **expected))
    for each in got if isinstance(got, list) else [got]:
        assert each["answer"] == CONTEXT[each["start"] : each["end"]]


def test_questions_come_in_every_form(answer):
    one = answer(question=QUESTION, context=CONTEXT)
    pair = {"question": QUESTION, "context": CONTEXT}
    assert_same(answer(pair), one)
    assert_same(answer([pair]), one)
    assert_same(answer([pair, pair]), [one, one])
    assert_same(answer(question=[QUESTION, QUESTION], context=CONTEXT), [one, one])
    assert_same(list(answer(pair for _ in range(3))), [one] * 3)


def test_answers_need_not_end_with_words(answer):
    spans = answer(question=QUESTION, context=CONTEXT, align_to_words=False, top_k=20)
    ends = [span["end"] for span in spans]
    assert any(CONTEXT[end - 1].isalpha() and CONTEXT[end : end + 1].isalpha() for end in ends)


def test_spans_are_the_best_of_all_by_brute_force():
    rng = np.random.default_rng(0)
    starts, ends = rng.random((2, 12))
    every = {(i, j): starts[i] * ends[j] for i in range(12) for j in range(i, min(i + 4, 12))}
    best = sorted(every, key=lambda span: -every[span])[:5]
    assert [span[:2] for span in likeliest_spans(starts, ends, 5, 4)] == best


@pytest.mark.parametrize(
    ("inputs", "options", "says"),
    [
        ({"question": "x"}, {}, "A question is"),
        ({"question": "x", "context": " "}, {}, "not empty"),
        ([], {"question": "x"}, "A question is asked as"),
        (None, {"question": ["x", "y"], "context": ["z"]}, "2 questions and 1 contexts"),
        (None, {"question": "x", "context": "y", "top_k": 0}, "top_k=0"),
        (None, {"question": "x", "context": "y", "doc_stride": -1}, "doc_stride=-1"),
    ],
)
def test_what_is_no_question_is_refused(answer, inputs, options, says):
    with pytest.raises(InputError, match=says):
        answer(inputs, **options)
