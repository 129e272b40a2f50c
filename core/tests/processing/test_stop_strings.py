"""Stop strings: cut where the text first holds one, however it arrives."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from intermodal.generation.stopping import StopScanner

letters = st.text(alphabet="ab<>\n", max_size=40)


def first_stop(text: str, stops: list[str]) -> int | None:
    """Where the text is cut, found character by character: at the first one that completes a stop string."""
    for end in range(1, len(text) + 1):
        starts = [end - len(stop) for stop in stops if text[:end].endswith(stop)]
        if starts:
            return min(starts)
    return None


@given(text=letters, stops=st.lists(st.text(alphabet="ab<>\n", min_size=1, max_size=5), max_size=4), data=st.data())
def test_text_in_pieces_is_cut_as_the_whole_is(text, stops, data):
    scanner, shown, rest = StopScanner(stops), "", text
    while rest and scanner.stopped is None:
        size = data.draw(st.integers(1, len(rest)))
        shown += scanner.push(rest[:size])
        rest = rest[size:]
        read = text[: len(text) - len(rest)]
        # Nothing of a stop string is ever shown, and no more is held back than might become one.
        assert not any(stop in shown for stop in stops)
        assert text.startswith(shown)
        held = read[len(shown) :]
        assert scanner.stopped or not held or any(stop.startswith(held) for stop in stops)
    cut = first_stop(text, stops)
    assert (scanner.stopped is None) == (cut is None)
    assert shown + scanner.flush() == (text if cut is None else text[:cut])


def test_a_stop_string_over_several_pieces():
    scanner = StopScanner(["</answer>", "\n\n"])
    assert [scanner.push(piece) for piece in ("4", "2<", "/ans", "wer> and", " more")] == ["4", "2", "", "", ""]
    assert scanner.stopped == "</answer>"
    assert scanner.flush() == ""


def test_what_was_held_back_comes_when_the_text_ends():
    scanner = StopScanner(["</answer>"])
    assert scanner.push("42</ans") == "42"
    assert scanner.flush() == "</ans"
    assert scanner.flush() == ""


def test_without_stop_strings_everything_is_shown():
    scanner = StopScanner([])
    assert scanner.push("text") == "text"
    assert scanner.stopped is None


def test_an_empty_stop_string_is_refused():
    with pytest.raises(ValueError, match="empty"):
        StopScanner([""])
