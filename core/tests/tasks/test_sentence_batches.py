"""Sentences are computed in few shapes, and with little padding."""

from intermodal.tasks.batches import bucket


def test_buckets_are_few_and_not_much_longer_than_what_they_hold():
    lengths = range(1, 513)
    assert all(0 <= bucket(length) - length < max(4, length / 4) for length in lengths)
    assert len({bucket(length) for length in lengths}) == 24
    assert all(bucket(bucket(length)) == bucket(length) for length in lengths)
