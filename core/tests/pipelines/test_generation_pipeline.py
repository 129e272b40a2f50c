"""Text generation: greedy continuations are those of transformers' pipeline on the same checkpoint."""

import re

import pytest
from intermodal.errors import GenerationError, InputError

from .conftest import TEXTS, assert_same, decoder

CHAT = [{"role": "user", "content": "The cats?"}]
PREFILL = [*CHAT, {"role": "assistant", "content": "They"}]
SHORT = {"max_new_tokens": 8, "do_sample": False}


@pytest.fixture(scope="module")
def writers(tmp_path_factory, both):
    return both("text-generation", decoder(tmp_path_factory.mktemp("writer")))


@pytest.mark.parametrize(
    ("inputs", "options"),
    [
        (TEXTS[0], {}),
        (TEXTS, {}),
        ([TEXTS[0]], {"return_full_text": False}),
        (TEXTS[0], {"return_tensors": True}),
        (TEXTS[0], {"prefix": "A dog. ", "skip_special_tokens": False}),
        (TEXTS[0], {"repetition_penalty": 1.5, "add_special_tokens": False}),
        (CHAT, {}),
        ([CHAT, PREFILL], {}),
        (PREFILL, {"return_full_text": False}),
        (PREFILL, {"continue_final_message": False}),
    ],
)
def test_continuations_are_those_of_transformers(writers, inputs, options):
    ours, theirs = writers
    got = ours(inputs, batch_size=2, **SHORT, **options)
    expected = theirs(inputs, **SHORT, **options)
    for row in expected if options.get("return_tensors") else ():
        row["generated_token_ids"] = list(row["generated_token_ids"])
    assert_same(got, expected)


def test_a_stop_sequence_ends_the_continuation_and_is_part_of_it(writers):
    ours, theirs = writers
    written = ours(TEXTS[0], return_full_text=False, **SHORT)[0]["generated_text"]
    found = re.search("[ -~]{2}", written)  # whole characters, which the bytes of a random model seldom are
    assert found, written
    stop = {"stop_sequence": found[0]}
    assert_same(ours(TEXTS[0], **SHORT, **stop), theirs(TEXTS[0], **SHORT, **stop))


def test_at_most_256_tokens_are_written_where_nothing_says_how_many(writers):
    ours, theirs = writers
    options = {"return_tensors": True, "do_sample": False}
    got = ours(TEXTS[3], **options)[0]["generated_token_ids"]
    assert got == list(theirs(TEXTS[3], **options)[0]["generated_token_ids"])


@pytest.mark.parametrize(
    ("options", "error", "says"),
    [
        ({"return_tensors": True, "return_full_text": True}, InputError, "return_tensors gives ids"),
        ({"handle_long_generation": "hole"}, InputError, "takes no handle_long_generation"),
        ({"max_new_tokens": 500}, GenerationError, "400"),
    ],
)
def test_what_cannot_be_done_is_refused(writers, options, error, says):
    with pytest.raises(error, match=says):
        writers[0](TEXTS[0], **options)
