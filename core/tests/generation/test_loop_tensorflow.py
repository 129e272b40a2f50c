"""Programs of TensorFlow's loop hold variables: the cache is written where it lies, and weights are let go of."""

import gc
import weakref

import intermodal
import keras
import numpy as np
import pytest
from intermodal.generation.batch import pad_left
from intermodal.generation.decoding import Decoding, loop_of
from intermodal.generation.sampling import Mode, controls

pytestmark = [
    pytest.mark.backend,
    pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="is about TensorFlow's variables"),
]
PROMPTS = [[1, 2, 3, 4], list(range(5, 45))]


def decoding(model, new):
    return Decoding(model, PROMPTS, [new] * len(PROMPTS), Mode(tokens=300), controls(least_new=[0] * len(PROMPTS)))


def addresses(cache):
    return [np.asarray(x.read_value()).ctypes.data for pair in cache for x in pair]


def test_the_cache_is_written_where_it_lies(model):
    going = decoding(model, 300)
    going.advance(1)
    cache = going._state.cache
    before, written = addresses(cache), cache[0][0].numpy()
    going.advance(5)
    assert addresses(going._state.cache) == before
    assert (cache[0][0].numpy() != written).any()
    going.advance(64)
    for _ in range(5):
        going.advance(64)
    grown = addresses(going._state.cache)
    assert going._state.capacity == 512
    going.advance(1)
    assert addresses(going._state.cache) == grown


def test_reading_prompts_writes_the_cache_where_it_lies(model):
    loop = loop_of(model)
    w, cache = loop.tensors(), loop.new_cache(2, 256)
    before = addresses(cache)
    batch = pad_left(PROMPTS, 64)
    loop.read(w, cache, batch.ids, batch.positions, loop.tensor(batch.first), 0)
    assert cache[1][1].numpy().any()
    assert addresses(cache) == before


def test_a_quantised_model_lets_go_of_its_wide_weights(folder):
    model = intermodal.load(folder)
    decoding(model, 4).advance(4)
    wide = [weakref.ref(variable.value.handle) for variable in model.backbone.by_name.values() if variable.ndim == 2]
    model.quantize("int8")
    gc.collect()
    assert not [alive for alive in wide if alive() is not None]


def test_programs_hold_no_cache_of_a_generation_that_is_over(model):
    going = decoding(model, 4)
    going.advance(4)
    cache = [weakref.ref(variable.handle) for pair in going._state.cache for variable in pair]
    del going
    gc.collect()
    assert not [alive for alive in cache if alive() is not None]


def test_a_tape_around_a_generation_sees_nothing_of_it(model):
    import tensorflow as tf

    alone = decoding(model, 4).advance(4)
    with tf.GradientTape() as tape:
        taped = decoding(model, 4).advance(4)
        assert tape.watched_variables() == ()
    assert taped.tolist() == alone.tolist()


def test_barriers_hold_many_weights_each():
    """XLA takes as long for each as for a layer's other operations."""
    import tensorflow as tf
    from intermodal.generation.loop_tensorflow import HELD, _held

    weights = [tf.fill((2, 3), float(number)) for number in range(2 * HELD + 1)]
    held = tf.function(lambda taken: list(_held(weights, taken)), jit_compile=True, autograph=False)
    graph = held.get_concrete_function(tf.TensorSpec((), tf.int32)).graph
    assert [operation.type for operation in graph.get_operations()].count("XlaOptimizationBarrier") == 3
    for now, given in zip(held(tf.constant(0)), weights, strict=True):
        np.testing.assert_array_equal(now, given)
