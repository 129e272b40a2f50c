"""`generate` and `chat` as users call them: what goes in, what comes out, where it ends, and what is refused."""

import itertools

import numpy as np
import pytest
import torch
from intermodal.errors import GenerationError, TokenizerError
from intermodal.generation import Run
from intermodal.generation.calls import settings_of
from intermodal.generation.prompts import read_prompts

pytestmark = pytest.mark.backend

TEXTS = ["The quick brown", "jumps over the lazy dog and", "東京"]


@pytest.fixture(scope="module")
def continue_ids(reference, tokens):
    """transformers' greedy continuation of ids, with the table's unused rows kept out."""
    unused = list(range(tokens, reference.config.vocab_size))

    def run(ids, new, **options):
        row = torch.tensor([ids])
        out = reference.generate(
            row, attention_mask=torch.ones_like(row), max_new_tokens=new, suppress_tokens=unused, **options
        )
        return out[0, len(ids) :].tolist()

    return run


@pytest.fixture(scope="module")
def expected(model, continue_ids):
    """The text that continues each of TEXTS by 40 tokens."""
    rows = [continue_ids(model.tokenizer.encode(text), 40) for text in TEXTS]
    return [model.tokenizer.decode(row, True) for row in rows]


def test_text_gives_the_continuation_alone(model, expected):
    assert model.generate(TEXTS[1], max_new_tokens=40) == expected[1]
    assert model.generate(TEXTS, max_new_tokens=40) == expected
    assert model.generate([], max_new_tokens=4) == []


def test_rows_of_the_table_without_a_token_are_never_generated(model, reference, tokens):
    ids = model.tokenizer.encode(TEXTS[1])
    free = reference.generate(torch.tensor([ids]), max_new_tokens=40)[0].tolist()
    assert max(free) >= tokens  # unrestricted, the model goes there
    assert model.generate({"input_ids": [ids]}, max_new_tokens=40).max() < tokens


def test_max_length_counts_the_prompt_of_each_row(model):
    rows = [model.tokenizer.encode(text) for text in TEXTS]
    run = Run(model, rows, settings_of(model, max_length=max(map(len, rows)) + 4))
    lengths = [completion.prompt_tokens + len(completion.ids) for completion in run.finish()]
    assert lengths == [max(map(len, rows)) + 4] * 3


def test_ids_give_prompt_and_continuation_whatever_the_padding(model, continue_ids):
    rows = [model.tokenizer.encode(text) for text in TEXTS]
    width = max(map(len, rows))
    stop = continue_ids(rows[0], 12)[4]
    wanted = [continue_ids(row, 12, eos_token_id=stop) for row in rows]
    longest = max(map(len, wanted))
    padded = [row + [7] * (longest - len(row)) for row in wanted]
    for left in (True, False):
        ids, mask = np.zeros((3, width), int), np.zeros((3, width), int)
        for index, row in enumerate(rows):
            place = slice(width - len(row), width) if left else slice(0, len(row))
            ids[index, place], mask[index, place] = row, 1
        out = model.generate(
            {"input_ids": ids, "attention_mask": mask}, max_new_tokens=12, eos_token_id=stop, pad_token_id=7
        )
        assert out.dtype == np.int64
        assert out[:, :width].tolist() == ids.tolist()
        assert out[:, width:].tolist() == padded
    assert len({len(row) for row in wanted}) > 1
    one = torch.tensor(rows[1])
    out = model.generate({"input_ids": one, "attention_mask": torch.ones_like(one)}, max_new_tokens=3)
    assert out.tolist() == [rows[1] + continue_ids(rows[1], 3)]
    without_pad = model.generate({"input_ids": ids, "attention_mask": mask}, max_new_tokens=12, eos_token_id=stop)
    assert set(without_pad[:, -1].tolist()) - {row[-1] for row in padded} <= {stop}


def test_a_stop_token_is_no_part_of_the_text(model, continue_ids):
    ids = model.tokenizer.encode(TEXTS[0])
    row = continue_ids(ids, 40)
    stop = row[9]
    end = row.index(stop)
    text = model.generate(TEXTS[0], max_new_tokens=40, eos_token_id=[stop, 1])
    assert text == model.tokenizer.decode(row[:end], True)
    (completion,) = Run(model, [ids], settings_of(model, max_new_tokens=40, eos_token_id=stop)).finish()
    assert (completion.finish_reason, completion.stopped_by) == ("stop", stop)
    assert list(completion.ids) == row[: end + 1]
    (longer,) = Run(
        model, [ids], settings_of(model, max_new_tokens=40, eos_token_id=stop, min_new_tokens=end + 5)
    ).finish()
    assert list(longer.ids) == continue_ids(ids, 40, eos_token_id=stop, min_new_tokens=end + 5)


def test_a_stop_string_ends_its_row_and_is_no_part_of_the_text(model, expected):
    middle = len(expected[1]) // 2
    stop = expected[1][middle : middle + 3]
    cut = [text.split(stop)[0] for text in expected]
    assert model.generate(TEXTS, max_new_tokens=40, stop=[stop, "never there"]) == cut
    assert model.generate(TEXTS[1], max_new_tokens=40, stop=stop) == cut[1]
    assert "".join(model.generate(TEXTS[1], max_new_tokens=40, stop=stop, stream=True)) == cut[1]
    rows = read_prompts(TEXTS, model, None).rows
    reasons = [
        (completion.finish_reason, completion.stopped_by)
        for completion in Run(model, rows, settings_of(model, max_new_tokens=40, stop=stop)).finish()
    ]
    assert reasons == [("stop", stop) if stop in text else ("length", None) for text in expected]


def test_pieces_join_to_the_text(model, expected):
    pieces = list(model.generate(TEXTS[1], max_new_tokens=40, stream=True))
    assert "".join(pieces) == expected[1]
    assert len(pieces) > 3
    joined = [""] * 3
    for index, piece in model.generate(TEXTS, max_new_tokens=40, stream=True):
        joined[index] += piece
    assert joined == expected


def test_a_stream_can_be_left_and_another_begun(model, expected):
    first = model.generate(TEXTS[1], max_new_tokens=40, stream=True)
    begun = "".join(itertools.islice(first, 2))
    assert model.generate(TEXTS[1], max_new_tokens=40) == expected[1]
    assert begun + "".join(first) == expected[1]


def test_the_same_seed_gives_the_same_text_and_drawing_is_what_was_asked_for(model, expected):
    drawn = model.generate(TEXTS, max_new_tokens=40, seed=5, temperature=1.5)
    assert drawn == model.generate(TEXTS, max_new_tokens=40, seed=5, temperature=1.5, do_sample=True, top_k=50)
    assert drawn != model.generate(TEXTS, max_new_tokens=40, seed=6, temperature=1.5)
    assert all(text != greedy for text, greedy in zip(drawn, expected, strict=True))
    assert model.generate(TEXTS, max_new_tokens=40, temperature=0) == expected
    assert model.generate(TEXTS, max_new_tokens=40, seed=5) == expected
    assert model.generate(TEXTS, max_new_tokens=40, seed=5, top_k=1) == expected


def test_an_empty_prompt_begins_with_the_token_that_begins_texts(model, continue_ids):
    assert model.generate("", max_new_tokens=8) == model.tokenizer.decode(continue_ids([0], 8), True)


def test_chat_renders_the_template_without_a_second_bos(model, continue_ids):
    messages = [{"role": "user", "content": "fox"}]
    ids = model.tokenizer.encode("<bos><user>fox<assistant>", add_special_tokens=False)
    assert ids.count(0) == 1
    answer = model.tokenizer.decode(continue_ids(ids, 12), True)
    assert model.chat(messages, max_new_tokens=12) == answer
    assert "".join(model.chat(messages, max_new_tokens=12, stream=True)) == answer
    assert model.chat([messages, messages], max_new_tokens=12) == [answer, answer]
    extended = model.tokenizer.encode("<bos><user>foxdogmore<assistant>", add_special_tokens=False)
    got = model.chat(messages, tools=[{"name": "dog"}], template_variables={"extra": "more"}, max_new_tokens=12)
    assert got == model.tokenizer.decode(continue_ids(extended, 12), True)
    begun = [*messages, {"role": "assistant", "content": "jumps"}]
    left_open = model.tokenizer.encode("<bos><user>fox<assistant>jumps", add_special_tokens=False)
    got = model.chat(begun, continue_final_message=True, max_new_tokens=12)
    assert got == model.tokenizer.decode(continue_ids(left_open, 12), True)


@pytest.mark.parametrize(
    ("prompt", "options", "message"),
    [
        ("fox", {"max_length": 9, "max_new_tokens": 4}, "max_length=9.*max_new_tokens=4"),
        ("fox", {"max_new_tokens": 5000}, "holds 2048"),
        ("fox", {"max_new_tokens": 0}, "max_new_tokens"),
        ("fox " * 3000, {}, "shorten"),
        ("fox", {"max_length": 1}, "counts the prompt"),
        ("fox", {"num_beams": 4}, "beam search"),
        ("fox", {"unheard_of": 4}, "no setting"),
        ("fox", {"temperature": -1.0}, "temperature"),
        ("fox", {"temperature": 0, "do_sample": True}, "do_sample=False"),
        ("fox", {"top_p": 1.5}, "top_p"),
        ("fox", {"seed": -1}, "seed"),
        ("fox", {"stop": ["a"], "stop_strings": ["b"]}, "two names"),
        ("fox", {"stop": ""}, "stop_strings"),
        (7, {}, "got int"),
        (["fox", 7], {}, "got list"),
        ({"ids": [1]}, {}, "got a dict with ids"),
        ({"input_ids": [[1, 2]], "token_type_ids": [[0, 0]]}, {}, "token_type_ids"),
        ({"input_ids": [[1, 2], [3]]}, {}, "different lengths"),
        ({"input_ids": [[0.5]]}, {}, "float64"),
        ({"input_ids": [[[1]]]}, {}, r"\(1, 1, 1\)"),
        ({"input_ids": [[400]]}, {}, "token 400.*0 to 399"),
        ({"input_ids": [[-1]]}, {}, "token -1"),
        ({"input_ids": [[1, 2]], "attention_mask": [[0, 0]]}, {}, "all padding"),
        ({"input_ids": [[1, 2]], "attention_mask": [[1, 2]]}, {}, "other values"),
        ({"input_ids": [[1, 2]], "attention_mask": [[1]]}, {}, "shape"),
        ({"input_ids": [[]]}, {}, "."),
        ({"input_ids": [[1, 2]]}, {"stream": True}, "stream"),
    ],
    ids=str,
)
def test_what_is_refused(model, prompt, options, message):
    with pytest.raises(GenerationError, match=message):
        model.generate(prompt, **{"stream": isinstance(prompt, str), **options})


def test_without_a_tokenizer_ids_are_all_that_works(model, monkeypatch, continue_ids, reference):
    monkeypatch.setattr(model, "tokenizer", None)
    ids = [5, 6, 7]
    out = model.generate({"input_ids": [ids]}, max_new_tokens=6)
    assert out[0].tolist() == reference.generate(torch.tensor([ids]), max_new_tokens=6)[0].tolist()
    for call in (
        lambda: model.generate("fox"),
        lambda: model.chat([{"role": "user", "content": "fox"}]),
        lambda: model.generate({"input_ids": [ids]}, stop="x"),
    ):
        with pytest.raises(TokenizerError, match="no tokenizer"):
            call()


def test_an_empty_prompt_without_a_first_token_is_refused(model, monkeypatch):
    monkeypatch.setattr(model.tokenizer.backend, "post_processor", None, raising=False)
    with pytest.raises(GenerationError, match="is empty"):
        read_prompts("", model, None)
