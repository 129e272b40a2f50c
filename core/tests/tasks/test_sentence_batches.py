"""Sentences are computed in few shapes, and with little padding."""

from intermodal.tasks.sentence import bucket


def test_buckets_are_few_and_at_most_a_quarter_too_long():
    lengths = range(1, 513)
    assert all(length <= bucket(length) <= max(8, 1.25 * length) for length in lengths)
    assert len({bucket(length) for length in lengths}) == 20
    assert all(bucket(bucket(length)) == bucket(length) for length in lengths)
