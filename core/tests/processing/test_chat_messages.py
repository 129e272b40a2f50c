"""Chat messages: what is accepted, what templates get to see, and errors that say what is wrong."""

import dataclasses
import enum

import numpy as np
import pytest
from intermodal.errors import TokenizerError
from intermodal.processing.chat import render_chat
from intermodal.processing.messages import check_messages, is_batch, plain_data

GOOD = {"role": "user", "content": "Hello"}


@pytest.mark.parametrize(
    ("messages", "message"),
    [
        ("Hello", "got a string"),
        (GOOD, "got one dict: put it into a list"),
        ([], "The chat is empty"),
        (None, "got NoneType"),
        ([GOOD, "x"], r'messages\[1\] is a dict with "role" and "content", got str'),
        ([{"content": "x"}], r'messages\[0\] has no "role"'),
        ([{"role": 3, "content": "x"}], r'messages\[0\] has no "role"'),
        ([GOOD, {"role": "user"}], r'messages\[1\] has no "content"'),
        ([{"role": "user", "content": None}], r'messages\[0\] has no "content"'),
        ([{"role": "user", "content": 3}], r'messages\[0\]\["content"\] is a string or a list of parts, got int'),
        ([{"role": "user", "content": [{"text": "x"}]}], r'messages\[0\]\["content"\]\[0\] is a dict with a "type"'),
        ([{"role": "user", "content": [{"type": "text"}]}], r'has the type "text", but no string under "text"'),
    ],
)
def test_malformed(messages, message):
    with pytest.raises(TokenizerError, match=message):
        check_messages(messages)


def test_tools_and_documents_are_lists_of_dicts():
    with pytest.raises(TokenizerError, match="tools is a list of dicts, each a JSON schema"):
        render_chat("x", [GOOD], tools=[print])
    with pytest.raises(TokenizerError, match="documents is a list of dicts"):
        render_chat("x", [GOOD], documents="x")


def test_accepted():
    calls = [{"type": "function", "function": {"name": "f", "arguments": {}}}]
    chat = [
        GOOD,
        {"role": "assistant", "content": None, "tool_calls": calls},
        {"role": "tool", "content": [{"type": "image"}]},
    ]
    checked = check_messages(tuple(chat))
    assert checked == [GOOD, {"role": "assistant", "tool_calls": calls}, chat[2]]
    assert checked[0] is not GOOD
    assert is_batch([chat, chat])
    assert not is_batch(chat)
    assert not is_batch([])


def test_what_templates_see_is_plain():
    class Colour(enum.StrEnum):
        RED = "red"

    @dataclasses.dataclass
    class Message:
        role: str
        content: object

    class Model:
        def model_dump(self):
            return {"role": "user", "content": "dumped"}

    assert check_messages([Message("user", "Hello"), Model()]) == [GOOD, {"role": "user", "content": "dumped"}]
    value = {"a": Colour.RED, "b": np.float64(1.5), "c": np.int32(2), "d": (np.bool_(False), object()), "e": np.ones(2)}
    plain = plain_data(value)
    assert plain == {"a": "red", "b": 1.5, "c": 2, "d": [False, "<object>"], "e": "<ndarray>"}
    assert [type(plain[key]) for key in "abc"] == [str, float, int]


def test_messages_that_contain_themselves():
    loop: list = []
    loop.append(loop)
    with pytest.raises(TokenizerError, match="nested"):
        plain_data(loop)
