"""Every native kernel against its reference in keras.ops, and the reference against torch's own operators."""

import keras
import numpy as np
import pytest
from intermodal import kernels
from intermodal.kernels import Bundle, reference
from keras import ops

pytestmark = pytest.mark.backend

random = np.random.default_rng(7)


def tensor(*shape, dtype="float32"):
    return ops.convert_to_tensor(random.standard_normal(shape).astype("float32"), dtype=dtype)


def close(got, expected, tolerance=2e-6):
    got, expected = (np.asarray(ops.convert_to_numpy(ops.cast(x, "float32"))) for x in (got, expected))
    assert got.shape == expected.shape
    np.testing.assert_allclose(got, expected, atol=tolerance * max(1, np.abs(expected).max()), rtol=0)


BUNDLES = {
    "plain": lambda: Bundle(tensor(6, 8)),
    "bias": lambda: Bundle(tensor(6, 8), tensor(6)),
    "stored in bfloat16": lambda: Bundle(tensor(6, 8, dtype="bfloat16"), tensor(6)),
    "int8": lambda: Bundle(ops.cast(tensor(6, 8) * 40, "int8"), tensor(6), ops.abs(tensor(6, 1))),
    "lora": lambda: Bundle(tensor(6, 8), None, None, tensor(2, 8), tensor(6, 2), ops.convert_to_tensor(0.5)),
}


def in_groups(bits, *, minimum):
    """A bundle (6, 64) of integers in groups of 32, and the values that they stand for in float64."""
    integers, scale = random.integers(0, 1 << bits, (6, 2, 32)), random.standard_normal((6, 2)).astype("float16")
    least = random.standard_normal((6, 2)).astype("float16") if minimum else None
    stored = integers[..., :16] | integers[..., 16:] << 4
    if bits == 8:
        integers = stored = integers - 128
    values = (integers - (8 if bits == 4 and not minimum else 0)) * scale[..., None].astype("float64")
    values = values + (least[..., None].astype("float64") if minimum else 0)
    stored = ops.convert_to_tensor(stored.reshape(6, -1), dtype="int8" if bits == 8 else "uint8")
    parts = [None if part is None else ops.convert_to_tensor(part) for part in (scale, least)]
    return Bundle(stored, tensor(6), scale=parts[0], minimum=parts[1]), values.reshape(6, 64)


@pytest.mark.parametrize("minimum", [False, True])
@pytest.mark.parametrize("bits", [4, 8])
def test_weights_in_groups_are_their_formula(bits, minimum):
    bundle, values = in_groups(bits, minimum=minimum)
    x, ids = tensor(2, 5, 64), ops.convert_to_tensor([[0, 5], [3, 3]], dtype="int32")
    for form in (kernels, reference):
        close(form.linear(x, bundle), ops.convert_to_numpy(x) @ values.T + ops.convert_to_numpy(bundle.bias), 4e-6)
        close(form.linears(x[:1, :1], bundle)[0], form.linear(x, bundle)[:1, :1], 4e-6)
        close(form.embedding(ids, bundle, "float32"), values[[[0, 5], [3, 3]]].astype("float32"), 0)


@pytest.mark.parametrize("kind", BUNDLES)
@pytest.mark.parametrize("shape", [(3, 8), (2, 5, 8)])
def test_linear(kind, shape):
    bundle, x = BUNDLES[kind](), tensor(*shape)
    close(kernels.linear(x, bundle), reference.linear(x, bundle))


@pytest.mark.parametrize("stored", ["float32", "bfloat16", "float16", "int8"])
@pytest.mark.parametrize("shape", [(64, 128), (1100, 576), (33, 70), (40, 3072)])
def test_linear_of_one_row_at_sizes_that_are_computed_differently(shape, stored):
    weight = tensor(*shape) if stored != "int8" else ops.clip(ops.round(tensor(*shape) * 40), -127, 127)
    bundle = Bundle(ops.cast(weight, stored), None, ops.abs(tensor(shape[0], 1)) if stored == "int8" else None)
    for x in (tensor(1, shape[1]), tensor(1, 1, shape[1])):
        close(kernels.linear(x, bundle), reference.linear(x, bundle), 4e-6)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize(("stride", "padding", "groups"), [(1, 0, 1), (2, 3, 1), (2, 1, 4), (1, 2, 2)])
def test_conv2d_is_torchs(stride, padding, groups, dtype):
    torch = pytest.importorskip("torch")
    bundle = Bundle(tensor(16, 8 // groups, 3, 5, dtype=dtype), tensor(16, dtype=dtype))
    x = tensor(2, 9, 12, 8)
    values, *stored = (
        torch.from_numpy(np.array(ops.convert_to_numpy(ops.cast(part, "float32"))))
        for part in (x, bundle.weight, bundle.bias)
    )
    expected = torch.nn.functional.conv2d(values.movedim(-1, 1), *stored, stride, padding, groups=groups)
    for form in (kernels, reference):
        close(form.conv2d(x, bundle, stride=stride, padding=padding), expected.movedim(1, -1).numpy(), 4e-6)


def test_a_function_computed_as_one_computes_the_same():
    def scaled(x, w, *, times):
        return {"y": kernels.linear(x, w["layers"][0]) * times}

    tree, x = {"layers": [Bundle(tensor(6, 8), tensor(6))]}, tensor(3, 8)
    close(kernels.as_one(scaled, ("times",))(x, tree, times=3)["y"], scaled(x, tree, times=3)["y"])


@pytest.mark.parametrize("kind", BUNDLES)
@pytest.mark.parametrize("shape", [(1, 1, 8), (2, 5, 8)])
def test_linears_are_each_a_linear(kind, shape):
    x, bundles = tensor(*shape), [BUNDLES[kind](), Bundle(tensor(3, 8)), BUNDLES[kind]()]
    for got, bundle in zip(kernels.linears(x, *bundles), bundles, strict=True):
        close(got, reference.linear(x, bundle))


@pytest.mark.parametrize("kind", ["plain", "stored in bfloat16", "int8"])
def test_embedding(kind):
    bundle, ids = BUNDLES[kind](), ops.convert_to_tensor([[0, 5], [3, 3]], dtype="int32")
    close(kernels.embedding(ids, bundle, "float32"), reference.embedding(ids, bundle, "float32"), 0)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_norms(dtype):
    x, bundle = tensor(2, 5, 8, dtype=dtype) * 3, Bundle(tensor(8, dtype=dtype), tensor(8, dtype=dtype))
    tolerance = 2e-6 if dtype == "float32" else 0
    close(kernels.rms_norm(x, bundle, 1e-2), reference.rms_norm(x, bundle, 1e-2), tolerance)
    close(kernels.offset_rms_norm(x, bundle, 1e-2), reference.offset_rms_norm(x, bundle, 1e-2), tolerance or 2e-2)
    close(kernels.layer_norm(x, bundle, 1e-2), reference.layer_norm(x, bundle, 1e-2), 2e-6 if tolerance else 1e-2)


def test_offset_rms_norm_is_its_formula():
    x, weight = random.standard_normal((2, 5, 8)) * 3, random.standard_normal(8)
    expected = x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-2) * (1 + weight)
    for module in (kernels, reference):
        got = module.offset_rms_norm(
            ops.convert_to_tensor(x, "float32"), Bundle(ops.convert_to_tensor(weight, "float32")), 1e-2
        )
        close(got, expected)


def test_a_window_that_is_not_causal_has_two_sides():
    mask = kernels.attention_mask(None, 5, 5, causal=False, window=2)
    distance = np.abs(np.arange(5)[:, None] - np.arange(5))
    assert (ops.convert_to_numpy(mask)[0, 0] == (distance < 2)).all()


ACTIVATIONS = {
    "silu": lambda torch, x: torch.nn.functional.silu(x),
    "gelu": lambda torch, x: x * 0.5 * (1 + torch.erf(x / 2**0.5)),
    "gelu_tanh": lambda torch, x: 0.5 * x * (1 + torch.tanh((2 / torch.pi) ** 0.5 * (x + 0.044715 * x**3))),
    "relu": lambda torch, x: x.clamp(min=0),
    "tanh": lambda torch, x: torch.tanh(x),
}


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations_are_their_formulas(name):
    torch = pytest.importorskip("torch")
    x = np.linspace(-6, 6, 241, dtype="float32")
    expected = ACTIVATIONS[name](torch, torch.tensor(x, dtype=torch.float64)).numpy()
    for module in (kernels, reference):
        close(getattr(module, name)(ops.convert_to_tensor(x)), expected, 1e-6)


@pytest.mark.parametrize("width", [300, 1024, 50_000])  # the last is no multiple of any block
def test_the_largest_of_a_row_is_the_first_of_several(width):
    values = np.random.default_rng(3).standard_normal((6, width)).astype("float32")
    values[1, [70, width - 90]] = 9.0
    values[2] = -np.inf
    values[3, -1] = 9.0
    values[4, [255, 256, -1]] = 9.0
    values[5, :-1] = -np.inf
    for module in (kernels, reference):
        for dtype in ("float32", "int32"):
            given = np.maximum(values, -9).astype(dtype) if dtype == "int32" else values
            found = module.argmax(ops.convert_to_tensor(given))
            assert ops.convert_to_numpy(found).tolist() == given.argmax(axis=1).tolist()
            assert keras.backend.standardize_dtype(found.dtype) == "int32"


def test_rotary_is_a_rotation_by_position_times_frequency():
    frequencies = np.array([1.0, 0.1, 0.01], np.float32)
    positions = ops.convert_to_tensor([[0, 1, 50]], dtype="int32")
    x = tensor(1, 2, 3, 6)
    table = kernels.rotary_table(positions, frequencies, 1.0, "float32")
    got = ops.convert_to_numpy(kernels.rotate(x, table))
    values = ops.convert_to_numpy(x)
    pairs = values[..., :3] + 1j * values[..., 3:]
    turned = pairs * np.exp(1j * np.array([0, 1, 50])[None, None, :, None] * frequencies)
    np.testing.assert_allclose(got, np.concatenate([turned.real, turned.imag], -1), atol=2e-5)


@pytest.mark.parametrize("cached", [False, True])
@pytest.mark.parametrize("rotated", [False, True])
def test_attention_of_projections_is_split_rotate_attend_merge(cached, rotated):
    length, width, offset = (1, 8, 3) if cached else (4, 8, 0)
    q, k, v = tensor(2, length, 48), tensor(2, length, 16), tensor(2, length, 16)
    positions = ops.arange(offset, offset + length)[None]
    table = np.array([1.0, 0.3, 0.1, 0.03], np.float32)
    ropes = [module.rotary_table(positions, table, 1.0, "float32") for module in (kernels, reference)]
    before = tensor(2, 2, offset, 8), tensor(2, 2, offset, 8)
    results = []
    for module, rope in zip((kernels, reference), ropes, strict=True):
        cache = None
        if cached:
            cache, _, _ = module.append(module.new_cache(2, 2, 6, 8, "float32"), *before, 0)
        mask = module.attention_mask(None, length, 6 if cached else length, offset)
        options = {"width": width, "rope": rope if rotated else None}
        cache, y = module.attend_heads(cache, q, k, v, offset, mask, 0.3, **options)
        results.append(y)
        assert (cache is None) != cached
    close(*results)


MASKS = {
    "full": {"causal": False},
    "causal": {},
    "causal, continued": {"offset": 3},
    "window": {"window": 2},
    "window, not causal": {"window": 2, "causal": False},
    "padded": {"valid": True},
    "padded window, continued": {"valid": True, "window": 3, "offset": 3},
    "padded, not causal": {"valid": True, "causal": False},
    "blocks": {"blocks": [[-1, 0, 0, 1], [0, 0, 0, -1]]},
    "padded blocks in a window": {"valid": True, "window": 2, "blocks": [[-1, 0, 0, 1], [-1, -1, 0, 0]]},
}


@pytest.mark.parametrize("biased", [False, True])
@pytest.mark.parametrize("kind", MASKS)
def test_attention_under_every_mask(kind, biased):
    options = dict(MASKS[kind])
    queries, offset = 4, options.get("offset", 0)
    keys = queries + offset
    if options.pop("valid", False):
        valid = np.ones((2, keys), bool)
        valid[1, :2] = False
        options["valid"] = ops.convert_to_tensor(valid)
    if "blocks" in options:
        options["blocks"] = ops.convert_to_tensor(options["blocks"], dtype="int32")
    q, k, v = tensor(2, 6, queries, 8), tensor(2, 2, keys, 8), tensor(2, 2, keys, 8)
    valid, bias = options.pop("valid", None), tensor(1, 6, queries, keys) if biased else None
    masks = (module.attention_mask(valid, queries, keys, **options) for module in (reference, kernels))
    expected, got = (m.attention(q, k, v, next(masks), scale=0.3, bias=bias) for m in (reference, kernels))
    got, expected = ops.convert_to_numpy(got), ops.convert_to_numpy(expected)
    if valid is not None and not options.get("offset"):
        got, expected = got[:, :, 2:], expected[:, :, 2:]  # rows of padding see nothing and are not compared
    np.testing.assert_allclose(got, expected, atol=3e-6)


def test_tokens_of_one_block_see_all_of_it():
    blocks = ops.convert_to_tensor([[-1, 0, 0, 0, 1, 1]], dtype="int32")
    for module in (kernels, reference):
        mask = ops.convert_to_numpy(module.attention_mask(None, 6, 6, window=2, blocks=blocks))[0, 0]
        expected = np.eye(6, dtype=bool) | np.eye(6, k=-1, dtype=bool)
        expected[1:4, 1:4] |= np.triu(np.ones((3, 3), bool))
        expected[4:, 4:] |= np.triu(np.ones((2, 2), bool))
        np.testing.assert_array_equal(mask, expected)


def test_heads_are_the_slow_axis():
    x = tensor(2, 3, 8)
    heads = kernels.split_heads(x, 4)
    close(heads, np.swapaxes(ops.convert_to_numpy(x).reshape(2, 3, 2, 4), 1, 2), 0)
    close(kernels.merge_heads(heads), x, 0)


def through_cache(module, pieces, valid, capacity, **options):
    """Attention of pieces of (q, k, v) one after the other, through a cache of `module`."""
    q, k, _ = pieces[0]
    cache, offset, found = module.new_cache(q.shape[0], k.shape[1], capacity, q.shape[3], "float32"), 0, []
    for q, k, v in pieces:
        cache, keys, values = module.append(cache, k, v, offset)
        mask = module.attention_mask(valid, q.shape[2], capacity, offset, **options)
        found.append(module.attention(q, keys, values, mask, 0.3))
        offset += q.shape[2]
    return ops.concatenate(found, axis=2), cache


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("window", [None, 1, 3, 30])
def test_attention_through_a_cache_is_that_of_the_reference(window, padded):
    pieces = [tuple(tensor(2, n, length, 8) for n in (6, 2, 2)) for length in (6, 1, 3, 1)]
    valid = np.ones((2, 16), bool)
    valid[1, :4] = False
    valid = ops.convert_to_tensor(valid) if padded else None

    def native(pieces, valid):
        return through_cache(kernels, pieces, valid, 16, window=window)[0]

    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        native = tf.function(native, jit_compile=True)
    got, expected = native(pieces, valid), through_cache(reference, pieces, valid, 16, window=window)[0]
    rows = slice(4, None) if padded else slice(None)  # rows of padding see nothing and are not compared
    close(got[:, :, rows], expected[:, :, rows], 3e-6)


def test_a_cache_that_has_grown_goes_on_where_it_was():
    first, second = (tuple(tensor(2, n, 2, 8) for n in (6, 2, 2)) for _ in range(2))

    def native(first, second):
        cache = through_cache(kernels, [first], None, 3)[1]
        cache, keys, values = kernels.append(kernels.grow(cache, 7), second[1], second[2], 2)
        return kernels.attention(second[0], keys, values, kernels.attention_mask(None, 2, 7, 2), 0.3), cache

    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        native = tf.function(native, jit_compile=True)
    got, cache = native(first, second)
    assert kernels.capacity(cache) == 7
    close(got, through_cache(reference, [first, second], None, 7)[0][:, :, 2:], 3e-6)


def test_reference_attention_is_torch_attention():
    torch = pytest.importorskip("torch")
    q, k, v = (ops.convert_to_numpy(tensor(2, n, 5, 8)) for n in (6, 2, 2))
    mask = reference.attention_mask(None, 5, 5)
    got = ops.convert_to_numpy(reference.attention(*map(ops.convert_to_tensor, (q, k, v)), mask, scale=0.4))
    expected = torch.nn.functional.scaled_dot_product_attention(
        *(torch.tensor(np.array(x)) for x in (q, k, v)), is_causal=True, scale=0.4, enable_gqa=True
    )
    np.testing.assert_allclose(got, expected.numpy(), atol=2e-6)


def test_reference_attention_with_a_bias_is_torch_attention():
    torch = pytest.importorskip("torch")
    q, k, v, bias = (np.array(ops.convert_to_numpy(tensor(2, n, 5, w))) for n, w in ((6, 8), (2, 8), (2, 8), (6, 5)))
    tensors = map(ops.convert_to_tensor, (q, k, v))
    got = ops.convert_to_numpy(reference.attention(*tensors, None, scale=0.4, bias=ops.convert_to_tensor(bias)))
    expected = torch.nn.functional.scaled_dot_product_attention(
        *map(torch.tensor, (q, k, v)), attn_mask=torch.tensor(bias), scale=0.4, enable_gqa=True
    )
    np.testing.assert_allclose(got, expected.numpy(), atol=2e-6)
