"""Attention by ranges as JAX calls it: the reference's, in place, differentiable, and reading no more than is seen."""

import numpy as np
import pytest

jax = pytest.importorskip("jax")
jnp = jax.numpy

from intermodal import kernels  # noqa: E402
from intermodal.kernels import Ranges, reference  # noqa: E402
from intermodal_native import for_jax  # noqa: E402
from intermodal_native.library import INSTRUCTIONS, library  # noqa: E402

pytestmark = pytest.mark.skipif(jax.default_backend() != "cpu", reason="the library is for CPUs, and JAX has another")

random = np.random.default_rng(11)


def normal(*shape):
    return jnp.asarray(random.standard_normal(shape).astype("float32"))


@pytest.fixture(params=INSTRUCTIONS)
def instructions(request):
    """One set of instructions after the other."""
    if not library().native_use_path(INSTRUCTIONS.index(request.param)):
        pytest.skip(f"this processor has no {request.param}")
    yield
    library().native_use_path(library().native_best_path())


def packed(lengths, before, window=None):
    """Ranges of `lengths` tokens of as many rows, one row after the other, of which the cache has some `before`."""
    rows = np.repeat(np.arange(len(lengths)), lengths)
    slots = np.concatenate([start + np.arange(length) for length, start in zip(lengths, before, strict=True)])
    first = np.minimum(rows, np.asarray(before)[rows])  # row 2's text begins at key 2, where there is one before
    numbers = (jnp.asarray(x, jnp.int32) for x in (rows, slots, first))
    return Ranges(*numbers).within(window)


def written(rows, groups, capacity, width, ranges):
    """A cache where there is nothing but NaN in places that no token sees."""
    seen = np.zeros((rows, capacity), bool)
    for row, slot, first in zip(*map(np.asarray, ranges[:3]), strict=True):
        seen[row, first:slot] = True
    return tuple(jnp.where(seen[:, None, :, None], normal(rows, groups, capacity, width), jnp.nan) for _ in "kv")


def check(cache, q, k, v, ranges, **options):
    """That compiled kernels and the reference agree, the cache included."""
    (keys, values), y = jax.jit(lambda *tensors: kernels.attend_heads(*tensors, 0, ranges, 0.3, **options))(
        cache, q, k, v
    )
    known = tuple(jnp.nan_to_num(part) for part in cache)
    expected_cache, expected = reference.attend_heads(known, q, k, v, 0, ranges, 0.3, **options)
    np.testing.assert_allclose(y, expected, atol=3e-6)
    for got, other in zip((keys, values), expected_cache, strict=True):
        np.testing.assert_allclose(jnp.nan_to_num(got), other, atol=1e-6)


@pytest.mark.parametrize("window", [None, 5, 300])
@pytest.mark.parametrize("offset", [0, 3, 255, 256, 599])
def test_one_token_of_each_row_and_a_long_cache(offset, window):
    ranges = kernels.ranges(jnp.asarray([0, min(offset, 2)]), 2, 1, offset).within(window)
    cache = written(2, 2, 600, 24, packed([1, 1], [offset, offset]))
    q, k, v = normal(2, 1, 6 * 24), normal(2, 1, 2 * 24), normal(2, 1, 2 * 24)
    check(cache, q, k, v, ranges, width=24, rope=None)


@pytest.mark.parametrize(("heads", "groups", "width"), [(6, 2, 24), (4, 4, 9), (5, 1, 6), (40, 2, 16)])
@pytest.mark.parametrize("window", [None, 40])
def test_prompts_of_several_rows_side_by_side(instructions, heads, groups, width, window):
    ranges = packed([70, 1, 9, 23], [0, 300, 5, 260], window)
    q, k, v = (normal(1, 103, number * width) for number in (heads, groups, groups))
    rope = None
    if width % 2 == 0:
        positions = (ranges.slots - ranges.first)[None]
        rope = kernels.rotary_table(positions, np.geomspace(1, 1e-3, width // 2), 1.1, "float32")
    check(written(4, groups, 320, width, ranges), q, k, v, ranges, width=width, rope=rope)


def test_a_padded_batch_by_heads():
    """Heads that are split before, and rows whose text begins at keys of their own."""
    ranges = kernels.ranges(jnp.asarray([0, 7, 3]), 3, 12, 4)
    cache = tuple(jnp.zeros((3, 2, 16, 8)) for _ in "kv")
    q, k, v = normal(3, 4, 12, 8), normal(3, 2, 12, 8), normal(3, 2, 12, 8)
    (keys, values), y = kernels.attend(cache, q, k, v, 4, ranges, 0.3)
    expected_cache, expected = reference.attend(cache, q, k, v, 4, ranges, 0.3)
    np.testing.assert_allclose(y, expected, atol=3e-6)
    np.testing.assert_allclose(keys, expected_cache[0])
    np.testing.assert_allclose(values, expected_cache[1])


def test_the_reference_of_ranges_is_that_of_a_mask():
    first = jnp.asarray([0, 6])
    cache = tuple(jnp.where(jnp.arange(16)[:, None] < 4, normal(2, 2, 16, 8), 0) for _ in "kv")
    q, k, v = normal(2, 4, 5, 8), normal(2, 2, 5, 8), normal(2, 2, 5, 8)
    _, by_ranges = reference.attend(cache, q, k, v, 4, kernels.ranges(first, 2, 5, 4).within(3), 0.3)
    valid = jnp.arange(16)[None] >= first[:, None]
    mask = reference.attention_mask(valid, 5, 16, 4, window=3)
    _, by_mask = reference.attend(cache, q, k, v, 4, mask, 0.3)
    np.testing.assert_allclose(by_ranges[:, :, 2:], by_mask[:, :, 2:], atol=1e-6)
    np.testing.assert_allclose(by_ranges[0], by_mask[0], atol=1e-6)


def test_tokens_that_see_nothing_give_zeros_and_those_without_a_slot_are_not_written():
    """What is not a number would go into the cache of padding before a text, and from there into the text."""
    cache = tuple(jnp.full((2, 2, 9, 24), 7.0) for _ in "kv")
    ranges = Ranges(*(jnp.asarray(x, jnp.int32) for x in ([0, 1, 1], [4, 3, -1], [0, 5, 0])))
    q, k, v = normal(1, 3, 6 * 24), normal(1, 3, 2 * 24), normal(1, 3, 2 * 24)
    check(cache, q, k, v, ranges, width=24, rope=None)
    (keys, _), y = kernels.attend_heads(cache, q, k, v, 0, ranges, 0.3, width=24, rope=None)
    np.testing.assert_array_equal(y[0, 1:], np.zeros((2, 6 * 24)))
    assert (np.asarray(keys[1, :, :3]) == 7).all()
    assert (np.asarray(keys[1, :, 4:]) == 7).all()


@pytest.mark.parametrize(
    ("ranges", "said"),
    [
        (([0], [9], [0]), "beyond its cache"),
        (([2], [0], [0]), "of no row"),
        (([0], [3], [-1]), "beyond its cache"),
    ],
)
def test_places_that_are_not_there_are_refused(ranges, said):
    cache = tuple(jnp.zeros((2, 2, 9, 24)) for _ in "kv")
    ranges = Ranges(*(jnp.asarray(x, jnp.int32) for x in ranges))
    q, k = normal(1, 1, 6 * 24), normal(1, 1, 2 * 24)
    with pytest.raises(Exception, match=said):
        jax.block_until_ready(kernels.attend_heads(cache, q, k, k, 0, ranges, 0.3, width=24, rope=None))


def test_what_is_not_a_number_stays_where_it_is():
    ranges = packed([2, 70], [0, 0])
    q, k, v = normal(1, 72, 6 * 24), normal(1, 72, 2 * 24), normal(1, 72, 2 * 24)
    cache = tuple(jnp.zeros((2, 2, 80, 24)) for _ in "kv")
    q = q.at[0, 1, 0].set(jnp.nan).at[0, 40, 0].set(jnp.nan)
    _, y = kernels.attend_heads(cache, q, k, v, 0, ranges, 0.3, width=24, rope=None)
    assert np.argwhere(np.isnan(y[0]).any(axis=1))[:, 0].tolist() == [1, 40]


def test_it_has_the_derivative_of_the_reference():
    q, k, v, cache = normal(1, 5, 48), normal(1, 5, 16), normal(1, 5, 16), (jnp.zeros((2, 2, 9, 8)),) * 2
    ranges = packed([3, 2], [0, 0])

    def loss(module):
        def of(*tensors):
            return jnp.sum(jnp.square(module.attend_heads(cache, *tensors, 0, ranges, 0.3, width=8, rope=None)[1]))

        return jax.grad(of, argnums=(0, 1, 2))(q, k, v)

    for one, other in zip(loss(kernels), loss(reference), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


def test_a_batch_of_it_and_what_is_exported_are_the_reference_s():
    ranges = packed([3, 2], [0, 0])
    q, k, cache = normal(2, 1, 5, 48), normal(2, 1, 5, 16), (jnp.zeros((2, 2, 9, 8)),) * 2

    def of(q, k, module=kernels):
        return module.attend_heads(cache, q, k, k, 0, ranges, 0.3, width=8, rope=None)[1]

    expected = [of(q[number], k[number], reference) for number in range(2)]
    np.testing.assert_allclose(jax.vmap(of)(q, k), expected, atol=1e-5)
    exported = jax.export.export(jax.jit(of))(q[0], k[0])
    assert f"@{for_jax.ATTEND}" not in str(exported.mlir_module())
    np.testing.assert_allclose(exported.call(q[0], k[0]), expected[0], atol=1e-5)


def test_a_loop_writes_its_cache_in_place():
    def decode(cache, q):
        def body(carry):
            offset, cache, q = carry
            k = q[..., :32]
            cache, y = kernels.attend_heads(
                cache, q, k, k, offset, kernels.ranges(None, 2, 1, offset), 0.3, width=16, rope=None
            )
            return offset + 1, cache, y

        return jax.lax.while_loop(lambda carry: carry[0] < 9, body, (0, cache, q))

    cache = kernels.new_cache(2, 2, 300, 16, "float32")
    text = jax.jit(decode, donate_argnums=0).lower(cache, normal(2, 1, 64)).compile().as_text()
    assert f'"{for_jax.ATTEND}"' in text
    assert not [line for line in text.splitlines() if "copy(" in line and "300,16]" in line]
