"""The library as TensorFlow's XLA calls it: right, in place, where nobody asks a derivative; and done without where XLA
cannot be told of it."""

import ctypes

import intermodal
import keras
import numpy as np
import pytest
from intermodal import compiled, kernels
from intermodal.kernels import Bundle, reference
from intermodal.testing.reference import make_reference, save_reference
from intermodal_native.library import DTYPES, library

pytestmark = [
    pytest.mark.backend,
    pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="kernels for TensorFlow"),
]
if keras.backend.backend() == "tensorflow":
    import tensorflow as tf
    from intermodal_native import for_tensorflow

random = np.random.default_rng(11)

SMALL = {"vocab_size": 40, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}


def normal(*shape, dtype="float32"):
    values = random.standard_normal(shape).astype("float32")
    return tf.constant(np.rint(values * 40).astype("int8")) if dtype == "int8" else tf.cast(values, dtype)


def program(function):
    """A function as the loop compiles its own."""

    def traced(*arguments):
        with kernels.inference():
            return function(*arguments)

    return tf.function(traced, jit_compile=True, autograph=False)


def text_of(function, *arguments) -> str:
    return function.experimental_get_compiler_ir(*arguments)(stage="optimized_hlo")


@pytest.mark.parametrize("rows", [(1,), (2, 3), (2, 50)])
@pytest.mark.parametrize("dtype", DTYPES)
def test_linears_are_numpy_s_and_one_call(dtype, rows):
    x, scale = normal(*rows, 70), tf.abs(normal(9, 1)) if dtype == "int8" else None
    bundles = Bundle(normal(9, 70, dtype=dtype), normal(9), scale), Bundle(normal(33, 70))
    linears = program(kernels.linears)
    for y, w in zip(linears(x, *bundles), bundles, strict=True):
        wide = tf.cast(w.weight, tf.float64) * (1 if w.scale is None else tf.cast(w.scale, tf.float64))
        expected = x.numpy().astype("float64") @ wide.numpy().T + (0 if w.bias is None else w.bias.numpy())
        np.testing.assert_allclose(y, expected, rtol=0, atol=1e-6 * np.abs(expected).max())
    assert text_of(linears, x, *bundles).count(f'custom_call_target="{for_tensorflow.PRODUCT}"') == 1


def test_programs_that_may_be_differentiated_are_left_to_tensorflow():
    x, w = normal(3, 8), normal(6, 8)

    @tf.function(jit_compile=True, autograph=False)
    def gradient(x, w):
        with tf.GradientTape() as tape:
            tape.watch(w)
            y = tf.reduce_sum(kernels.linear(x, Bundle(w)))
        return tape.gradient(y, w)

    np.testing.assert_allclose(gradient(x, w), np.ones((3, 6)).T @ x.numpy(), atol=1e-5)
    assert for_tensorflow.PRODUCT not in text_of(gradient, x, w)


def test_what_is_exported_runs_where_there_is_no_library(tmp_path):
    x, w = normal(2, 8), normal(4, 8)
    module = tf.Module()
    module.linear = tf.function(lambda x: kernels.linear(x, Bundle(w)), input_signature=[tf.TensorSpec((None, 8))])
    tf.saved_model.save(module, str(tmp_path))
    assert for_tensorflow.PRODUCT.encode() not in (tmp_path / "saved_model.pb").read_bytes()
    loaded: tf.Module = tf.saved_model.load(str(tmp_path))  # pyright: ignore[reportAssignmentType]
    np.testing.assert_allclose(loaded.linear(x), x.numpy() @ w.numpy().T, atol=1e-5)


def test_lengths_may_be_open():
    w, other = normal(4, 8), normal(3, 8)
    linears = program(lambda x: kernels.linears(x, Bundle(w), Bundle(other)))
    linears = tf.function(linears, jit_compile=True, input_signature=[tf.TensorSpec((None, None, 8))])
    for x in (normal(2, 3, 8), normal(1, 5, 8)):
        for y, weight in zip(linears(x), (w, other), strict=True):
            np.testing.assert_allclose(y, x.numpy() @ weight.numpy().T, atol=1e-5)
        assert for_tensorflow.PRODUCT in text_of(linears, x)


def test_other_dtypes_of_activations_are_left_to_xla():
    x, w = tf.cast(normal(2, 8), tf.bfloat16), normal(4, 8)
    assert for_tensorflow.PRODUCT not in text_of(program(lambda x, w: kernels.linear(x, Bundle(w))), x, w)


def test_a_loop_neither_copies_nor_widens_weights():
    def decode(x, *weights):
        def body(step, x):
            for w in weights:
                x = kernels.linear(x, Bundle(w))
            return step + 1, x

        return tf.while_loop(lambda step, x: step < 9, body, (tf.constant(0), x))

    arguments = normal(1, 64), normal(800, 64, dtype="bfloat16"), normal(64, 800, dtype="bfloat16")
    lines = [
        line for line in text_of(program(decode), *arguments).splitlines() if "800,64]" in line or "64,800]" in line
    ]
    assert lines
    assert not [line for line in lines if " copy(" in line or " convert(" in line or " transpose(" in line]


def rope_of(positions):
    return kernels.rotary_table(positions, np.geomspace(1, 1e-3, 12), 1.1, "float32")


@pytest.mark.parametrize("window", [None, 40])
@pytest.mark.parametrize(("rows", "lengths"), [(None, (1, 1)), (None, (9, 9)), ([0] * 70 + [1] * 3, (70, 3))])
def test_attention_to_a_long_cache_is_that_of_the_reference(rows, lengths, window):
    """One token or several of each row, and rows side by side in one; what nobody sees is not a number."""
    slots = np.concatenate([300 + np.arange(length) for length in lengths]).astype("int32")
    first = np.repeat([0, 7], lengths).astype("int32")
    lead = (2, lengths[0]) if rows is None else (1, len(slots))
    ranges = kernels.Ranges(None if rows is None else tf.constant(rows), tf.constant(slots), tf.constant(first))
    place = tf.range(400)[None, None, :, None]
    seen = (place < 300) & (place >= tf.constant([0, 7])[:, None, None, None])
    cache = [tf.where(seen, normal(2, 2, 400, 24), np.nan) for _ in "kv"]
    q, k, v, rope = normal(*lead, 6 * 24), normal(*lead, 2 * 24), normal(*lead, 2 * 24), rope_of(slots.reshape(lead))

    def attended(module, cache, q, k, v, rows, slots, first, last, *rope):
        ranges = kernels.Ranges(rows, slots, first, last).within(window)
        return module.attend_heads(cache, q, k, v, 0, ranges, 0.3, width=24, rope=rope)

    got, y = program(lambda *tensors: attended(kernels, tensors[:2], *tensors[2:]))(*cache, q, k, v, *ranges, *rope)
    zeros = tuple(tf.where(seen, part, 0.0) for part in cache)
    expected_cache, expected = attended(reference, zeros, q, k, v, *ranges, *rope)
    np.testing.assert_allclose(y, expected, atol=3e-6)
    for part, other in zip(got, expected_cache, strict=True):
        np.testing.assert_allclose(np.nan_to_num(part), other, atol=1e-6)


def test_heads_that_are_split_before_and_a_row_that_sees_nothing():
    """Padding before a text: what is not a number would go into its cache, and from there into the text."""
    cache = kernels.new_cache(2, 2, 9, 24, "float32")
    q, k, v = normal(2, 6, 1, 24), normal(2, 2, 1, 24), normal(2, 2, 1, 24)
    ranges = kernels.ranges(tf.constant([0, 5]), 2, 1, 4)
    y = program(lambda *tensors: kernels.attend(cache, *tensors, 4, ranges, 0.3)[1])(q, k, v).numpy()
    np.testing.assert_allclose(y, reference.attend(cache, q, k, v, 4, ranges, 0.3)[1], atol=3e-6)
    assert y[0].any()
    assert not y[1].any()


def test_places_that_are_not_there_are_refused():
    cache, q, k = kernels.new_cache(2, 2, 9, 24, "float32"), normal(1, 1, 6 * 24), normal(1, 1, 2 * 24)
    ranges = kernels.Ranges(*(tf.constant([number]) for number in (0, 9, 0)))
    attend = program(lambda q, k: kernels.attend_heads(cache, q, k, k, 0, ranges, 0.3, width=24, rope=None)[1])
    with pytest.raises(tf.errors.OpError, match="beyond its cache"):
        attend(q, k)


def test_masks_of_programs_that_may_be_differentiated_are_no_ranges():
    cache = kernels.new_cache(2, 2, 9, 24, "float32")
    assert not kernels.takes_ranges(cache)
    with kernels.inference():
        assert kernels.takes_ranges(cache)


def test_a_loop_writes_its_cache_in_place():
    def decode(keys, values, q):
        def body(offset, keys, values, q):
            ranges = kernels.ranges(None, 2, 1, offset)
            (keys, values), y = kernels.attend((keys, values), q, q[:, :2], q[:, :2], offset, ranges, 0.3)
            return offset + 1, keys, values, y

        return tf.while_loop(lambda offset, *_: offset < 9, body, (tf.constant(0), keys, values, q))

    cache = kernels.new_cache(2, 2, 300, 16, "float32")
    computations = text_of(program(decode), *cache, normal(2, 4, 1, 16)).split("\n\n")
    (body,) = [text for text in computations if for_tensorflow.ATTEND in text]
    assert not [line for line in body.splitlines() if " copy(" in line and "300,16]" in line]


@pytest.mark.parametrize("by_xla", [True, False])
def test_predict_is_computed_by_them_where_xla_compiles_it(by_xla, tmp_path, monkeypatch):
    def linears(*given, of=for_tensorflow.linears, **options):
        called.append(given)
        return of(*given, **options)

    called = []
    monkeypatch.setattr(for_tensorflow, "linears", linears)
    model = intermodal.load(save_reference(make_reference("LlamaForCausalLM", SMALL), tmp_path))
    model.compile(jit_compile=by_xla)
    for shape in ((2, 6), (3, 7)):  # after the second, Keras leaves the shapes open
        ids = np.arange(np.prod(shape)).reshape(shape)
        got = model.predict_on_batch({"input_ids": ids})
        assert bool(called) == by_xla
        called.clear()
        np.testing.assert_allclose(got, model({"input_ids": ids}), atol=1e-5)
        assert not called


def test_a_tape_may_be_open_around_what_is_not_differentiated(tmp_path):
    model = intermodal.load(save_reference(make_reference("LlamaForCausalLM", SMALL), tmp_path))
    inputs = {"input_ids": np.arange(6)[None]}
    expected = model.predict_on_batch(inputs), model.generate(inputs, max_new_tokens=3, do_sample=False)
    with tf.GradientTape():
        got = model.predict_on_batch(inputs), model.generate(inputs, max_new_tokens=3, do_sample=False)
    for one, other in zip(got, expected, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


def test_the_environment_switches_them_off(monkeypatch):
    monkeypatch.setenv("INTERMODAL_PLUGINS", "-native")
    assert compiled.for_cpu.__wrapped__("tensorflow") is None
    monkeypatch.delenv("INTERMODAL_PLUGINS")
    assert compiled.for_cpu.__wrapped__("tensorflow") is for_tensorflow


def test_a_tensorflow_without_the_interface_is_told_of(monkeypatch):
    monkeypatch.setattr(for_tensorflow, "INTERFACE", "another")
    with pytest.raises(OSError, match=r"libtensorflow_cc\S* of TensorFlow .* does not give XLA's C interface"):
        for_tensorflow._register()


def test_another_version_of_the_interface_is_refused(monkeypatch):
    """It begins as one that is not known, so that nothing else of it is read."""
    interface = (ctypes.c_int64 * 24)(24 * 8, 0, 24, 0, 1 + (7 << 32))  # sizes, and version 1.7
    why = ctypes.create_string_buffer(200)
    assert not library().native_xla_register(interface, b"name", None, why, 200)
    assert b"version 1.7" in why.value


def test_a_foreign_function_that_is_not_called_is_told_of(monkeypatch):
    monkeypatch.setattr(for_tensorflow, "PRODUCT", "nobody_registered_this")
    with pytest.raises(RuntimeError, match="does not call foreign functions of XLA"):
        for_tensorflow._try()
