"""The kernels for PyTorch, on each set of instructions, against the reference in keras.ops."""

import keras
import numpy as np
import pytest
from intermodal import kernels
from intermodal.kernels import Bundle, reference
from intermodal_native.library import INSTRUCTIONS, library

pytestmark = [
    pytest.mark.backend,
    pytest.mark.skipif(keras.backend.backend() != "torch", reason="kernels for PyTorch"),
]
if keras.backend.backend() == "torch":
    import torch
    from intermodal_native import for_torch
    from keras.src.backend.torch.core import get_device

    pytestmark.append(pytest.mark.skipif(get_device() != "cpu", reason="kernels for a CPU"))


@pytest.fixture(params=INSTRUCTIONS, autouse=True)
def instructions(request):
    """One set of instructions after the other."""
    if not library().native_use_path(INSTRUCTIONS.index(request.param)):
        pytest.skip(f"this processor has no {request.param}")
    yield
    library().native_use_path(library().native_best_path())


@pytest.fixture(autouse=True)
def no_gradients():
    with torch.inference_mode():
        yield


def random(*shape, dtype="float32", seed=0):
    values = np.random.default_rng([seed, *shape]).standard_normal(shape).astype("float32")
    return (
        torch.tensor(np.rint(values * 40)).to(torch.int8)
        if dtype == "int8"
        else torch.tensor(values).to(getattr(torch, dtype))
    )


def close(got, expected, tolerance=2e-6):
    assert got is not None
    assert got.shape == expected.shape
    torch.testing.assert_close(got, expected, atol=tolerance * max(1, expected.abs().max().item()), rtol=0)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16", "int8"])
@pytest.mark.parametrize("shape", [(1, 1, 203), (3, 1, 64), (2, 5, 7), (32, 576)])
def test_products(dtype, shape):
    x = random(*shape)
    scale = random(40, 1).abs() if dtype == "int8" else None
    bundles = [Bundle(random(rows, shape[-1], dtype=dtype, seed=rows), None, scale) for rows in (40, 40)]
    bundles.append(Bundle(random(9, shape[-1], dtype="float32")))
    products = for_torch.linears(x, bundles, [for_torch.prepare(w.weight, w.scale) for w in bundles])
    assert products is not None
    for got, w in zip(products, bundles, strict=True):
        close(got, reference.linear(x, w), 4e-6)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_linear_adds_bias_and_update(dtype):
    parts = {"lora_a": random(2, 30), "lora_b": random(7, 2), "lora_scale": torch.tensor(0.5)}
    w = Bundle(random(7, 30, dtype=dtype), random(7, dtype=dtype), **parts)
    x = random(2, 1, 30)
    close(kernels.linear(x, w), reference.linear(x, w))


def test_a_product_of_rows_that_do_not_follow_each_other():
    x = random(4, 30)[::2]
    w = random(12, 30)
    (got,) = for_torch.linears(x, [Bundle(w)], [for_torch.prepare(w, None)])
    close(got, reference.linear(x, Bundle(w)))


@pytest.mark.parametrize(
    ("x", "weight"),
    [
        ((0, 8), (4, 8)),
        ((2, 8), (8, 4)),
    ],
)
def test_other_products_are_left_to_pytorch(x, weight):
    w = Bundle(random(*weight))
    assert for_torch.linears(random(*x), [w], [for_torch.prepare(w.weight, None)]) is None


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "int8"])
@pytest.mark.parametrize("rows", [33, 130])
def test_products_of_many_rows_are_left_to_the_threads_of_pytorch_if_it_has_any(dtype, rows):
    x, scale = random(2, rows, 70), random(50, 1).abs() if dtype == "int8" else None
    w = Bundle(random(50, 70, dtype=dtype), None, scale)
    prepared, threads = for_torch.prepare(w.weight, scale), torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        assert for_torch.linears(x, [w], [prepared]) is None
        torch.set_num_threads(1)
        (got,) = for_torch.linears(x, [w], [prepared])
    finally:
        torch.set_num_threads(threads)
    close(got, reference.linear(x, w), 4e-6)


def test_a_weight_that_is_not_stored_row_by_row_is_left_to_pytorch():
    x, weight = random(1, 6), random(6, 8).T
    assert for_torch.prepare(weight, None) is None
    close(kernels.linear(x, Bundle(weight)), reference.linear(x, Bundle(weight)))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("shape", [(1, 1, 576), (3, 2, 37), (40, 1, 1030)])
@pytest.mark.parametrize("offset", [False, True])
def test_norms(dtype, shape, offset):
    x, w = random(*shape) * 3, Bundle(random(shape[-1], dtype=dtype))
    expected = (reference.offset_rms_norm if offset else reference.rms_norm)(x, w, 1e-3)
    close(for_torch.rms_norm(x, w.weight, 1e-3, offset=offset), expected)


@pytest.mark.parametrize("width", [8, 64, 80, 6])
@pytest.mark.parametrize("rows", [1, 3])
def test_rotation(width, rows):
    frequencies = np.geomspace(1, 1e-3, width // 2).astype("float32")
    positions = torch.tensor([[5], [900], [31]])[:rows]
    x = random(3, 4, 1, width)
    got = for_torch.rotate(x, *kernels.rotary_table(positions, frequencies, 1.1, "float32"))
    close(got, reference.rotate(x, reference.rotary_table(positions, frequencies, 1.1, "float32")))


@pytest.mark.parametrize("heads", [(4, 4), (9, 3), (8, 1), (15, 3)])
@pytest.mark.parametrize("offset", [0, 3, 255, 256, 700])
@pytest.mark.parametrize("length", [1, 20])
def test_attention_to_a_cache(heads, offset, length):
    (heads, groups), width, batch = heads, 20 if offset == 3 else 64, 2
    cache = tuple(random(batch, groups, 720, width, seed=seed) for seed in (1, 2))
    given = tuple(part.clone() for part in cache)
    q, k, v = (
        random(batch, length, heads * width),
        *(random(batch, length, groups * width, seed=seed) for seed in (3, 4)),
    )
    ranges = kernels.ranges(torch.tensor([0, offset // 2], dtype=torch.int32), batch, length, offset).within(600)
    got = for_torch.attend(*cache, q, k, v, ranges, 0.1)
    expected_cache, expected = reference.attend_heads(given, q, k, v, 0, ranges, 0.1, width=width, rope=None)
    close(got, expected, 4e-6)
    for ours, theirs in zip(cache, expected_cache, strict=True):
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize("rows", [1, 3])
@pytest.mark.parametrize("length", [1, 4])
def test_attention_of_projections(rows, length):
    heads, groups, width, offset = 6, 2, 8, 5
    cache = tuple(random(rows, groups, 9, width, seed=seed) for seed in (1, 2))
    given = tuple(part.clone() for part in cache)
    q, k, v = random(rows, length, heads * width), *(random(rows, length, groups * width, seed=seed) for seed in (3, 4))
    positions = torch.tensor([[5], [3], [2]])[:rows] + torch.arange(length)
    rope = kernels.rotary_table(positions, np.ones(4, np.float32), 1.0, "float32")
    half = tuple(part[..., :4] * sign for part, sign in zip(rope, (1, -1), strict=True))
    ranges = kernels.ranges(None, rows, length, offset)
    got = for_torch.attend(*cache, q, k, v, ranges, 0.3, rope)
    _, expected = reference.attend_heads(given, q, k, v, offset, ranges, 0.3, width=width, rope=half)
    close(got, expected, 4e-6)
    _, by_kernels = kernels.attend_heads(given, q, k, v, offset, ranges, 0.3, width=width, rope=rope)
    close(by_kernels, expected, 4e-6)
    mask = kernels.attention_mask(None, length, 9, offset)
    _, by_mask = kernels.attend_heads(given, q, k, v, offset, mask, 0.3, width=width, rope=rope)
    close(by_mask, expected, 4e-6)


def test_a_weight_that_was_replaced_is_not_taken_from_what_was_prepared():
    weight, other, x = random(5, 8), random(5, 8, seed=1), random(1, 8)
    bundle = Bundle(weight, prepared=kernels.prepare(weight, None))
    close(kernels.linear(x, bundle), reference.linear(x, bundle))
    replaced = bundle._replace(weight=other)
    close(kernels.linear(x, replaced), reference.linear(x, replaced))


def test_nothing_is_computed_here_where_gradients_are_recorded():
    with torch.inference_mode(False), torch.enable_grad():
        x, w = torch.ones(1, 8, requires_grad=True), torch.ones(3, 8)
        assert for_torch.linears(x, [Bundle(w)], [for_torch.prepare(w, None)]) is None
        assert for_torch.rms_norm(x, w[0], 1e-5, offset=False) is None
        kernels.linear(x, Bundle(w)).sum().backward()
        assert x.grad is not None


def test_nothing_is_computed_here_where_a_graph_is_traced():
    bundle = Bundle(random(3, 8))
    traced = torch.jit.trace(lambda x: kernels.linear(x, bundle), torch.zeros(1, 8), check_trace=False)
    x = random(1, 8)
    close(traced(x), reference.linear(x, bundle))
