"""What a declared field accepts, and that anything else is refused by name."""

import json

import pytest
from intermodal.config import fields
from intermodal.config.fields import summary

SIZE = fields.integer(1, 1 << 20)
NUMBER = fields.real(least=0.0, most=1.0)


@pytest.mark.parametrize("text", ["-1", "0", str(10**18), '"4096"', "true", "NaN", "1e400", "[1]", "{}", "null", "4.0"])
def test_a_size_is_a_positive_integer_of_sane_size(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011
        SIZE.read(json.loads(text))


@pytest.mark.parametrize("text", ["-0.1", "1.5", '"0.1"', "false", "NaN", "Infinity", "1e400", "[]", "null"])
def test_a_number_is_finite_and_in_range(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011
        NUMBER.read(json.loads(text))


def test_an_integer_too_large_for_a_float_is_no_number() -> None:
    with pytest.raises(ValueError):  # noqa: PT011
        fields.real().read(10**400)


def test_an_integer_is_taken_as_the_float_it_equals() -> None:
    value = NUMBER.read(1)
    assert value == 1.0
    assert type(value) is float


def test_null_is_accepted_only_where_declared() -> None:
    assert SIZE.or_null().read(None) is None
    with pytest.raises(ValueError):  # noqa: PT011
        SIZE.or_null().read(0)


@pytest.mark.parametrize("value", [{"a": "x"}, {"0": 1}, {}, {"0": "x", "00": "y"}, {" 1": "x"}, ["x"], "x"])
def test_labels_need_distinct_integer_keys_and_string_names(value: object) -> None:
    with pytest.raises(ValueError):  # noqa: PT011
        fields._labels(value)


def test_values_on_the_screen_are_short_and_carry_no_control_characters() -> None:
    assert len(summary("x" * 10**6)) < 100
    assert "\x1b" not in summary("\x1b[2J")
    assert len(summary(list(range(10**5)))) < 100
    assert summary(10**5000).startswith("an integer of")
    assert [summary(value) for value in (None, True, False, 3)] == ["null", "true", "false", "3"]


def test_a_size_may_start_at_nought_where_declared() -> None:
    check = fields.size(28, least=0, most=99).metadata["check"]
    assert check.read(0) == 0
    with pytest.raises(ValueError):  # noqa: PT011
        check.read(-1)


def test_a_list_of_choices_is_brought_to_its_normal_form_and_written_as_a_list() -> None:
    check = fields.choices(None, {"full": "full", "attention": "full", "sliding": "sliding"}, nullable=True).metadata[
        "check"
    ]
    assert check.read(["attention", "sliding"]) == ("full", "sliding")
    assert check.write(("full", "sliding")) == ["full", "sliding"]
    assert check.read(None) is None
    for value in (["chunked"], "full", [1], [["full"]], ["full"] * 5000):
        with pytest.raises(ValueError):  # noqa: PT011
            check.read(value)
