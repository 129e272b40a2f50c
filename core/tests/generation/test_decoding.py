"""The loop of each backend against transformers' generate and against whole forward passes."""

import copy
import gc
import weakref

import intermodal
import keras
import numpy as np
import pytest
import torch
from intermodal.generation import decoding
from intermodal.generation.batch import cache_bucket, pad_left
from intermodal.generation.decoding import Decoding, loop_of
from intermodal.generation.sampling import Mode, controls
from intermodal.layers.step import CacheFilled, Step

pytestmark = pytest.mark.backend

V = 400
RANDOM = np.random.default_rng(11)
PROMPTS = [RANDOM.integers(0, V, length).tolist() for length in (5, 17, 40)]


def host(tensor):
    return np.asarray(keras.ops.convert_to_numpy(tensor))


def generate(model, prompts, new, mode=None, numbers=None, seed=None, steps=16):
    state = Decoding(model, prompts, [new] * len(prompts), mode or Mode(V), numbers or controls(), seed)
    columns = [state.advance(1)]
    while sum(column.shape[1] for column in columns) < new:
        columns.append(state.advance(steps))
        assert columns[-1].shape[1]
    assert state.finished.all()
    return np.concatenate(columns, axis=1)[:, :new]


def continued(reference, prompt, new, **options):
    ids = torch.tensor([prompt])
    out = reference.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=new, do_sample=False, **options)
    return out[0, len(prompt) :].tolist()


@pytest.fixture(scope="module")
def greedy(reference):
    """64 tokens after each prompt, by transformers."""
    return [continued(reference, prompt, 64) for prompt in PROMPTS]


def test_greedy_ids_are_those_of_transformers_alone_and_in_a_batch(model, greedy):
    assert len({tuple(ids[-8:]) for ids in greedy}) == 3
    assert generate(model, PROMPTS[1:2], 64).tolist() == greedy[1:2]
    assert generate(model, PROMPTS, 64).tolist() == greedy


def test_a_prompt_longer_than_a_piece_and_a_growing_cache(model, reference, monkeypatch):
    prompt = np.random.default_rng(2).integers(0, V, 150).tolist()
    monkeypatch.setattr(decoding, "AHEAD", 8)
    assert cache_bucket(150 + 8) < 150 + 120
    assert generate(model, [prompt], 120, steps=64)[0].tolist() == continued(reference, prompt, 120)


def test_prompts_of_any_lengths_beside_each_other(model, reference, monkeypatch):
    """One token, one much longer than the others, and a cache that grows behind them."""
    prompts = [PROMPTS[0][:1], np.random.default_rng(3).integers(0, V, 300).tolist(), PROMPTS[1], PROMPTS[0][:2]]
    monkeypatch.setattr(decoding, "AHEAD", 8)
    expected = [continued(reference, prompt, 220) for prompt in prompts]
    assert generate(model, prompts, 220, steps=64).tolist() == expected
    assert generate(model, prompts[:1], 9).tolist() == [expected[0][:9]]


def test_ids_do_not_depend_on_how_prompts_are_read(model, monkeypatch):
    prompts = [*PROMPTS, PROMPTS[0][:1]]
    packed = generate(model, prompts, 12)
    sampled = generate(model, prompts, 12, Mode(V, sample=True, penalty=True), controls(repetition_penalty=1.3), 5)
    monkeypatch.setattr(type(loop_of(model)), "packs", lambda self, cache: False)
    assert generate(model, prompts, 12).tolist() == packed.tolist()
    again = generate(model, prompts, 12, Mode(V, sample=True, penalty=True), controls(repetition_penalty=1.3), 5)
    assert again.tolist() == sampled.tolist()


@pytest.mark.parametrize(
    ("lengths", "pieces"),
    [((1, 1), []), ((30, 36), [64]), ((200, 1, 260), [256, 256]), ((200, 1, 90), [256, 64]), ((68,), [64, 64])],
)
def test_pieces_hold_every_token_but_the_last_ones(lengths, pieces):
    prompts = [RANDOM.integers(1, V, length).tolist() for length in lengths]
    batch = pad_left(prompts, max(lengths))
    filled, short = (list(batch.pieces(filled=filled)) for filled in (True, False))
    assert [len(piece.ids) for piece in filled] == pieces
    for found in (filled, short):
        read = [[0] * max(lengths) for _ in lengths]
        for piece in found:
            for token, position, row, slot, first in zip(*(values.tolist() for values in piece), strict=True):
                if slot >= 0:
                    read[row][slot] = token
                    assert position == slot - first
                    assert first == max(lengths) - lengths[row]
        assert [row[:-1] for row in read] == batch.ids[:, :-1].tolist()
    assert sum(len(piece.ids) for piece in short) == sum(lengths) - len(lengths)


def test_a_pass_that_fills_the_cache_ends_when_the_last_layer_has_written_to_it(model):
    ids = keras.ops.convert_to_tensor([PROMPTS[1]], "int32")
    positions, w = keras.ops.arange(ids.shape[1], dtype="int32")[None], model.tensors()
    whole, filled = (Step(ids, positions, cache=model.backbone.new_cache(1, 32), fill_only=fill) for fill in (0, 1))
    model.backbone.forward(w, whole)
    with pytest.raises(CacheFilled):
        model.backbone.forward(w, filled)
    for expected, got in zip(whole.cache, filled.cache, strict=True):
        assert all(host(part)[:, :, : ids.shape[1]].any() for part in got)
        for part, other in zip(expected, got, strict=True):
            np.testing.assert_array_equal(host(part), host(other))


def test_a_cache_that_is_just_large_enough_does_not_grow(model, monkeypatch):
    monkeypatch.setattr(decoding, "grow", None)
    room = 256 - 64
    assert generate(model, PROMPTS[1:2], room, steps=63).shape == (1, room)


def test_logits_through_the_cache_are_those_of_a_whole_pass(model):
    ids = np.array([PROMPTS[2]], np.int32)
    whole = host(model(ids))[0]
    loop = loop_of(model)
    w = loop.tensors()
    batch = pad_left([PROMPTS[2]], 40)
    first = loop.tensor(batch.first)
    cache, got = loop.new_cache(1, 256), []
    for start, length in [(0, 8), *((at, 1) for at in range(8, 40))]:
        at = slice(start, start + length)
        logits, cache = loop.read(w, cache, batch.ids[:, at], batch.positions[:, at], first, start)
        got.append(host(logits)[0])
    assert np.abs(np.stack(got) - whole[7:]).max() <= 1e-4 * np.abs(whole).max()


def test_rows_end_at_their_own_limit_or_stop_token(model, greedy):
    stop = greedy[0][6]
    first = greedy[0].index(stop)
    state = Decoding(model, PROMPTS, [20, 3, 9], Mode(V), controls(stops=[stop]))
    columns = [state.advance(1)]
    while not state.finished.all():
        columns.append(state.advance(4))
    ids = np.concatenate(columns, axis=1)
    assert ids[0, : first + 1].tolist() == greedy[0][: first + 1]
    assert ids[1, :3].tolist() == greedy[1][:3]
    assert ids.shape[1] <= 1 + 4 * 5
    assert state.advance(4).shape[1] == 0


def test_a_row_that_is_ended_from_outside_does_not_hold_up_the_rest(model, greedy):
    state = Decoding(model, PROMPTS, [64, 64, 1], Mode(V), controls())
    state.advance(1)
    state.finish(0)
    assert state.finished.tolist() == [True, False, True]
    assert state.advance(10)[1].tolist() == greedy[1][1:11]
    state.finish(1)
    assert state.advance(10).shape == (3, 0)


def test_penalty_counts_prompt_and_text_but_not_padding(model, reference):
    mode, numbers = Mode(V, penalty=True), controls(repetition_penalty=1.4)
    expected = [continued(reference, prompt, 40, repetition_penalty=1.4) for prompt in PROMPTS]
    assert generate(model, PROMPTS, 40, mode, numbers).tolist() == expected
    assert expected != [continued(reference, prompt, 40) for prompt in PROMPTS]


def test_what_is_drawn_depends_on_the_seed_and_not_on_steps_or_other_rows(model):
    mode, numbers = Mode(V, sample=True, top_k=True, top_p=True), controls(temperature=1.5, top_k=100, top_p=0.95)
    drawn = generate(model, PROMPTS, 24, mode, numbers, seed=3)
    assert generate(model, PROMPTS, 24, mode, numbers, seed=3, steps=5).tolist() == drawn.tolist()
    assert generate(model, PROMPTS[:1], 24, mode, numbers, seed=3).tolist() == drawn[:1].tolist()
    assert generate(model, PROMPTS, 24, mode, numbers, seed=4).tolist() != drawn.tolist()


def test_narrow_weights_are_computed_with_as_they_are(folder, reference):
    narrow = copy.deepcopy(reference).bfloat16().float()
    model = intermodal.load(folder, dtype="bfloat16")
    assert (model.variable_dtype, model.compute_dtype) == ("bfloat16", "float32")
    ids = generate(model, PROMPTS, 32)
    assert ids.tolist() == [continued(narrow, prompt, 32) for prompt in PROMPTS]
    assert ids.tolist() != [continued(reference, prompt, 32) for prompt in PROMPTS]


def test_adapters_and_integer_weights_take_part(folder):
    model = intermodal.load(folder)
    before = generate(model, PROMPTS[1:2], 12)
    model.enable_lora(4, seed=0)
    for name, variable in model.backbone.by_name.items():
        if name.endswith("lora_b"):
            variable.assign(np.random.default_rng(0).normal(size=variable.shape).astype("float32"))
    adapted = generate(model, PROMPTS[1:2], 12)
    assert adapted.tolist() == likeliest(model, PROMPTS[1], adapted[0]) != before.tolist()
    model = intermodal.load(folder)
    model.quantize("int8")
    quantized = generate(model, PROMPTS[1:2], 12)
    assert quantized.tolist() == likeliest(model, PROMPTS[1], quantized[0])


def likeliest(model, prompt, ids):
    """What whole passes over prompt and ids find likeliest at each step."""
    logits = host(model(np.array([[*prompt, *ids]], np.int32)))[0]
    return [logits[len(prompt) - 1 : -1].argmax(-1).tolist()]


def test_nothing_keeps_a_model_alive(folder):
    model = intermodal.load(folder)
    generate(model, PROMPTS[:1], 1)
    alive = weakref.ref(model)
    del model
    gc.collect()
    assert alive() is None


def test_lengths_numbers_and_new_weights_compile_nothing_anew(folder, reference):
    model = intermodal.load(folder)
    before = generate(model, PROMPTS[1:2], 12)[0].tolist()
    for prompt, new in ((PROMPTS[0], 3), (PROMPTS[2], 30), (PROMPTS[1] * 6, 9)):
        generate(model, [prompt], new)
    generate(model, PROMPTS[:1], 5, numbers=controls(stops=[V - 1, V - 2, V - 3]))
    original = reference.model.norm.weight.data.clone()
    model.backbone.by_name["norm.weight"].assign(-original.numpy())
    try:
        reference.model.norm.weight.data = -original
        assert generate(model, PROMPTS[1:2], 12)[0].tolist() == continued(reference, PROMPTS[1], 12) != before
    finally:
        reference.model.norm.weight.data = original
    if not loop_of(model).compiled:
        return
    first = {"settle": 1} if not loop_of(model).packs(model.backbone.new_cache(1, 4)) else {}
    assert loop_of(model).compilations() == {"read": 1, "run": 1, **first}
    generate(model, PROMPTS[:1], 5, mode=Mode(V, sample=True), seed=0)
    generate(model, PROMPTS[:1], 5, mode=Mode(V, sample=True), numbers=controls(temperature=0.2, min_p=0.1), seed=0)
    assert loop_of(model).compilations() == {"read": 1, "run": 2, **dict.fromkeys(first, 2)}
