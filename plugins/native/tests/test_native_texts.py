"""Attention of the tokens of texts to each other, as JAX and TensorFlow call it: the reference's, whatever is seen."""

import functools

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from intermodal import kernels
from intermodal.kernels import Ranges, reference
from intermodal.kernels.ops import ops
from intermodal_native.library import INSTRUCTIONS, library

BACKEND = keras.backend.backend()
pytestmark = [
    pytest.mark.backend,
    pytest.mark.skipif(BACKEND == "torch", reason="PyTorch's own operator attends where there is no cache"),
]

random = np.random.default_rng(5)


def normal(*shape):
    return random.standard_normal(shape).astype("float32")


def program(function):
    """A function as `predict` compiles it, and called with arrays."""
    if BACKEND == "jax":
        import jax

        return jax.jit(function)
    import tensorflow as tf

    def traced(*arguments):
        with kernels.inference():
            return function(*arguments)

    return tf.function(traced, jit_compile=True, autograph=False, reduce_retracing=True)


def side_by_side(lengths, fill=0):
    """What tokens of such texts see, and `fill` more of no text: first and last keys."""
    ends = np.cumsum([0, *lengths])
    first, last = np.repeat(ends[:-1], lengths), np.repeat(ends[1:] - 1, lengths)
    total = len(first) + fill
    return np.concatenate([first, [total] * fill]).astype("int32"), np.concatenate([last, [-1] * fill]).astype("int32")


def check(first, last, *, batch=1, heads=4, groups=4, width=8, rope=None, window=None, tolerance=4e-6, attend=None):
    """That compiled kernels and the reference agree on tokens of `batch` rows, whom numbers tell what they see."""
    length = len(first) // batch
    q, k, v = (normal(batch, length, number * width) for number in (heads, groups, groups))
    slots = np.tile(np.arange(length, dtype="int32"), batch)
    last = [] if last is None else [last]

    def attended(q, k, v, slots, first, *last, module=kernels):
        ranges = Ranges(None, slots, first, *last).within(window)
        return module.attend_heads(None, q, k, v, 0, ranges, 0.3, width=width, rope=rope)[1]

    y = (attend or program)(attended)(q, k, v, slots, first, *last)
    given = [ops.convert_to_tensor(x) for x in (q, k, v, slots, first, *last)]
    expected = attended(*given, module=reference)
    np.testing.assert_allclose(ops.convert_to_numpy(y), ops.convert_to_numpy(expected), atol=tolerance)
    return np.asarray(y)


@pytest.fixture(params=INSTRUCTIONS)
def instructions(request):
    """One set of instructions after the other."""
    if not library().native_use_path(INSTRUCTIONS.index(request.param)):
        pytest.skip(f"this processor has no {request.param}")
    yield
    library().native_use_path(library().native_best_path())


@pytest.mark.parametrize(("heads", "groups", "width"), [(12, 12, 32), (6, 2, 24), (3, 3, 5)])
@pytest.mark.parametrize("lengths", [(1,), (5, 1, 30, 7, 60, 16, 17), (200, 49)])
def test_texts_side_by_side(instructions, lengths, heads, groups, width):
    check(*side_by_side(lengths, fill=11), heads=heads, groups=groups, width=width)


@pytest.mark.parametrize("threads", [1, 3])
def test_a_long_text_among_short_ones_and_several_threads(threads):
    """So long that its keys are divided between threads where there are few queries."""
    before = library().native_threads()
    library().native_use_threads(threads)
    try:
        check(*side_by_side((9, 700, 3)), heads=2, groups=1, width=16)
    finally:
        library().native_use_threads(before)


def test_rows_of_padded_texts_and_rotated_heads():
    first, last = np.repeat([0, 3, 0], 14).astype("int32"), np.repeat([13, 13, 6], 14).astype("int32")
    positions = ops.convert_to_tensor(np.tile(np.arange(14), (3, 1)))
    rope = kernels.rotary_table(positions, np.geomspace(1, 1e-3, 4), 1.1, "float32")
    check(first, last, batch=3, rope=rope)


def test_a_window_to_both_sides_and_to_earlier_tokens_alone():
    first, last = side_by_side((50, 9, 70))
    check(first, last, window=8)
    check(first, None, window=8)
    check(first, None)


def test_tokens_that_see_nothing_give_zeros():
    y = check(*side_by_side((4, 2), fill=3))
    assert y[0, :6].any(axis=1).all()
    assert not y[0, 6:].any()


@functools.cache
def compiled_once():
    """One program for all that hypothesis makes."""
    return program(lambda *given: attend(kernels, *given))


def attend(module, q, k, v, slots, first, last):
    return module.attend_heads(None, q, k, v, 0, Ranges(None, slots, first, last), 0.3, width=8, rope=None)[1]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 63), st.integers(-1, 63)), min_size=64, max_size=64))
def test_any_ranges(pairs):
    """Also such as overlap, go back, or see keys of tokens that see nothing themselves."""
    first, last = (np.array(numbers, "int32") for numbers in zip(*pairs, strict=True))
    tensors = *(normal(1, 64, number * 8) for number in (4, 2, 2)), np.arange(64, dtype="int32"), first, last
    expected = attend(reference, *map(ops.convert_to_tensor, tensors))
    np.testing.assert_allclose(compiled_once()(*tensors), ops.convert_to_numpy(expected), atol=4e-6)


def test_keys_beyond_the_text_are_refused():
    first, last = side_by_side((4, 2))
    with pytest.raises(Exception, match="beyond its cache"):
        check(first, last + 1)


@pytest.mark.skipif(BACKEND != "tensorflow", reason="shapes that are left open")
def test_lengths_may_be_open():
    import tensorflow as tf

    def compiled(function):
        shapes = [(None, None, 32)] * 3 + [(None,)] * 3
        kinds = [tf.float32] * 3 + [tf.int32] * 3
        specs = [tf.TensorSpec(shape, kind) for shape, kind in zip(shapes, kinds, strict=True)]

        def traced(*arguments):
            with kernels.inference():
                return function(*arguments)

        return tf.function(traced, jit_compile=True, autograph=False, input_signature=specs)

    check(*side_by_side((4, 20, 1)), attend=compiled)
    check(*side_by_side((4, 4)), batch=1, attend=compiled)


@pytest.mark.skipif(BACKEND != "jax", reason="derivatives, batches and exported programs are XLA's own in JAX")
def test_derivatives_batches_and_what_is_exported_are_the_reference_s():
    import jax

    first, last = side_by_side((3, 2))
    q, k = normal(2, 1, 5, 48), normal(2, 1, 5, 16)
    ranges = Ranges(None, *(jax.numpy.asarray(x) for x in (np.arange(5), first, last)))

    def of(q, k, module=kernels):
        return module.attend_heads(None, q, k, k, 0, ranges, 0.3, width=8, rope=None)[1]

    def slope(module):
        return jax.grad(lambda q, k: (of(q, k, module) ** 2).sum(), argnums=(0, 1))(q[0], k[0])

    for one, other in zip(slope(kernels), slope(reference), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)
    expected = [of(q[number], k[number], reference) for number in range(2)]
    np.testing.assert_allclose(jax.vmap(of)(q, k), expected, atol=1e-5)
    exported = jax.export.export(jax.jit(of))(q[0], k[0])
    assert "@intermodal_attend" not in str(exported.mlir_module())
    np.testing.assert_allclose(exported.call(q[0], k[0]), expected[0], atol=1e-5)
