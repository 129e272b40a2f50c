"""The choice of a token against transformers' logits processors, and what is drawn against numpy."""

import warnings

import keras
import numpy as np
import pytest
import torch
from intermodal.generation.filters import FLOOR, keep
from intermodal.generation.sampling import Mode, Uniforms, choose, controls, draw
from transformers import (
    MinLengthLogitsProcessor,
    MinPLogitsWarper,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

pytestmark = pytest.mark.backend

V = 1000


def logits(rows=6, seed=0):
    return (np.random.default_rng(seed).normal(size=(rows, V)) * 4).astype("float32")


def host(tensor):
    return np.asarray(keras.ops.convert_to_numpy(tensor))


def softmax(values):
    powers = np.exp(values.astype("float64") - values.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


def tensor(array):
    return keras.ops.convert_to_tensor(array)


ALL = {"top_k": 200, "top_p": 0.95, "min_p": 0.02}


@pytest.mark.parametrize(
    ("temperature", "filters"),
    [
        (0.7, {}),
        (0.7, {"top_k": 1}),
        (0.7, {"top_k": 50}),
        (0.7, {"top_k": 999}),
        (0.7, {"top_p": 0.9}),
        (0.7, {"top_p": 0.1}),
        (0.7, {"top_p": 0.9999}),
        (0.7, {"min_p": 0.05}),
        (0.7, {"min_p": 1.0}),
        (0.7, {"top_k": 40, "top_p": 0.7}),
        (1.0, ALL),
        (2.5, ALL),
        (0.01, ALL),
    ],
    ids=str,
)
def test_filters_keep_what_transformers_keeps(filters, temperature):
    values = logits()
    expected = TemperatureLogitsWarper(temperature)(None, torch.tensor(values))
    if "top_k" in filters:
        expected = TopKLogitsWarper(filters["top_k"])(None, expected)
    if "top_p" in filters:
        expected = TopPLogitsWarper(filters["top_p"])(None, expected)
    if "min_p" in filters:
        expected = MinPLogitsWarper(filters["min_p"])(None, expected)
    mode = Mode(V, sample=True, top_k="top_k" in filters, top_p="top_p" in filters)
    kept = host(keep(tensor(values / np.float32(temperature)), controls(temperature=temperature, **filters), mode))
    got, wanted = softmax(kept), torch.softmax(expected.double(), -1).numpy()
    np.testing.assert_allclose(got, wanted, rtol=2e-5, atol=1e-12)
    drawable = wanted > np.exp(FLOOR + 1)  # a token of probability 1e-45 is never drawn, kept or not
    assert (np.isfinite(kept) | ~drawable).all()
    assert (~np.isfinite(kept) | (wanted > 0)).all()


def test_equal_logits_are_kept_together():
    values = np.zeros((1, V), "float32")
    values[0, :4] = 2.0
    kept = host(keep(tensor(values), controls(top_k=2), Mode(V, sample=True, top_k=True)))
    assert np.isfinite(kept[0]).nonzero()[0].tolist() == [0, 1, 2, 3]
    # Half of the four is reached within the first two, which leave the other two in as well.
    kept = host(keep(tensor(values), controls(top_k=2, top_p=0.4), Mode(V, sample=True, top_k=True, top_p=True)))
    assert np.isfinite(kept[0]).nonzero()[0].tolist() == [0, 1, 2, 3]


def test_penalty_and_minimum_are_those_of_transformers():
    values = logits()
    prompts = [[3, 5, 8, 13], [1], [999, 998], [0, 7], [4], [2, 2]]
    for row, prompt in enumerate(prompts):  # make what is penalised the likeliest, on both sides of zero
        values[row, prompt] = [9.0 + i if row % 2 else -0.1 - i for i in range(len(prompt))]
    stops = {int(values[0].argmax()), 17}
    seen = np.zeros((6, V), bool)
    expected = []
    for row, prompt in enumerate(prompts):
        seen[row, prompt] = True
        scores = RepetitionPenaltyLogitsProcessor(1.7)(torch.tensor([prompt]), torch.tensor(values[row : row + 1]))
        scores = MinLengthLogitsProcessor(9, sorted(stops))(torch.zeros(1, 8), scores)
        expected.append(int(scores.argmax()))
    numbers = controls(repetition_penalty=1.7, stops=stops, least_new=[3] * 6)
    mode = Mode(V, penalty=True, least_new=True)
    assert host(choose(tensor(values), None, tensor(seen), 2, numbers, mode)).tolist() == expected
    plain = choose(tensor(values), None, None, 0, controls(), Mode(V))
    assert host(plain).tolist() == values.argmax(-1).tolist() != expected


def test_rows_without_a_token_are_never_chosen():
    values = logits()
    values[:, 700:] += 100
    for mode in (Mode(700), Mode(700, sample=True)):
        chosen = host(choose(tensor(values), tensor(np.full(6, 0.999, "float32")), None, 0, controls(), mode))
        assert (chosen < 700).all()
        if not mode.sample:
            assert chosen.tolist() == values[:, :700].argmax(-1).tolist()


def test_a_token_is_drawn_where_the_cumulated_probability_passes_the_number():
    values = logits(rows=1)
    probabilities = softmax(values[0])
    numbers = np.random.default_rng(1).random(400).astype("float32")
    drawn = host(draw(tensor(np.repeat(values, 400, 0) - values.max()), tensor(numbers)))
    cumulated = np.cumsum(probabilities)
    expected = np.searchsorted(cumulated, numbers, side="right")
    near = np.abs(cumulated[None] - numbers[:, None]).min(1) < 1e-6  # float32 may fall on either side
    assert near.sum() < 20
    assert (drawn == expected)[~near].all()


def test_the_ends_of_the_interval_draw_tokens_that_were_kept():
    values = logits(rows=1)
    numbers = controls(top_k=3)
    kept = keep(tensor(values), numbers, Mode(V, sample=True, top_k=True))
    allowed = set(values[0].argsort()[-3:].tolist())
    for end in (0.0, 1 - 2.0**-23):
        assert int(host(draw(kept, tensor(np.array([end], "float32"))))[0]) in allowed


def test_each_row_draws_numbers_of_its_own_whatever_the_batch_and_the_steps():
    alone, batch = Uniforms(7, 1), Uniforms(7, 3)
    together = batch.draw(10)
    parts = np.concatenate([alone.draw(4), alone.draw(1), alone.draw(5)], axis=1)
    np.testing.assert_array_equal(parts[0], together[0])
    assert len({tuple(row) for row in together.tolist()}) == 3
    many = Uniforms(1, 1).draw(20000)
    assert many.dtype == np.float32
    assert 0 <= many.min() < 1e-3
    assert 1 - 1e-3 < many.max() < 1
    assert abs(many.mean() - 0.5) < 0.01
    assert (Uniforms(None, 1).draw(5) != Uniforms(None, 1).draw(5)).any()


def test_nothing_warns_about_infinities():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        keep(tensor(logits()), controls(min_p=0.0), Mode(V, sample=True))
