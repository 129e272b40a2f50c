"""The library's products as JAX calls them: right, differentiable, without copies of weights, and not where they do not
belong."""

import os
import subprocess
import sys

import ml_dtypes
import numpy as np
import pytest

jax = pytest.importorskip("jax")
jnp = jax.numpy

from intermodal import compiled, kernels  # noqa: E402
from intermodal.kernels import Bundle  # noqa: E402
from intermodal_native import for_jax  # noqa: E402
from intermodal_native.library import DTYPES  # noqa: E402

pytestmark = pytest.mark.skipif(jax.default_backend() != "cpu", reason="the library is for CPUs, and JAX has another")

random = np.random.default_rng(11)


def normal(*shape, dtype="float32"):
    values = random.standard_normal(shape).astype("float32")
    return jnp.asarray(np.rint(values * 40).astype("int8") if dtype == "int8" else values.astype(dtype))


def text_of(function, *arguments) -> str:
    return jax.jit(function).lower(*arguments).compile().as_text()


@pytest.fixture
def without(monkeypatch):
    """What a function gives when core finds no compiled kernels."""

    def run(function, *arguments):
        with monkeypatch.context() as patched:
            patched.setattr("intermodal.kernels.jax.for_cpu", lambda user: None)
            return function(*arguments)

    return run


@pytest.mark.parametrize("rows", [(1,), (2, 3), (2, 50)])
@pytest.mark.parametrize("dtype", DTYPES)
def test_linears_are_numpy_s_and_one_call(dtype, rows):
    x, scale = normal(*rows, 70), jnp.abs(normal(9, 1)) if dtype == "int8" else None
    bundles = Bundle(normal(9, 70, dtype=dtype), normal(9), scale), Bundle(normal(33, 70))
    for function in (kernels.linears, jax.jit(kernels.linears)):
        for y, w in zip(function(x, *bundles), bundles, strict=True):
            wide = np.asarray(w.weight).astype("float64") * (1 if w.scale is None else np.asarray(w.scale, "float64"))
            expected = np.asarray(x, "float64") @ wide.T + (0 if w.bias is None else np.asarray(w.bias, "float64"))
            np.testing.assert_allclose(y, expected, rtol=0, atol=1e-6 * np.abs(expected).max())
    assert text_of(kernels.linears, x, *bundles).count(f'custom_call_target="{for_jax.PRODUCT}"') == 1


def test_they_compute_where_jit_is_switched_off():
    x, weight = normal(1, 5, 32), normal(24, 32)
    with jax.disable_jit():
        (y,) = kernels.linears(x, Bundle(weight))
    np.testing.assert_allclose(y, np.asarray(x, "float64") @ np.asarray(weight, "float64").T, atol=1e-5)


def test_other_dtypes_of_activations_are_left_to_xla():
    x, w = normal(2, 8).astype("bfloat16"), Bundle(normal(4, 8, dtype=ml_dtypes.bfloat16))
    assert for_jax.PRODUCT not in text_of(kernels.linear, x, w)


def test_a_loop_neither_copies_nor_widens_weights():
    def decode(w, x):
        def body(carry):
            step, x = carry
            held, step = jax.lax.optimization_barrier((w, step))
            return step + 1, kernels.linear(kernels.linear(x, held[0]), held[1])

        return jax.lax.while_loop(lambda carry: carry[0] < 9, body, (0, x))

    w = Bundle(normal(800, 64, dtype=ml_dtypes.bfloat16)), Bundle(normal(64, 800, dtype=ml_dtypes.bfloat16))
    program = jax.jit(decode).lower(w, normal(1, 64)).compile()
    lines = [line for line in program.as_text().splitlines() if "800,64]" in line or "64,800]" in line]
    assert lines
    assert not [line for line in lines if " copy(" in line or " convert(" in line or " transpose(" in line]
    assert program.memory_analysis().temp_size_in_bytes < 64 * 800


@pytest.mark.parametrize("dtype", DTYPES)
def test_gradients_are_those_of_xla(dtype, without):
    bundle = Bundle(normal(6, 8, dtype=dtype), normal(6), jnp.abs(normal(6, 1)), normal(2, 8), normal(6, 2), 0.5)
    names = [name for name in ("weight", "bias", "scale", "lora_a", "lora_b") if dtype != "int8" or name != "weight"]

    def loss(x, tensors):
        return jnp.sum(jnp.square(kernels.linear(x, bundle._replace(**tensors))))

    arguments = normal(3, 8), {name: getattr(bundle, name) for name in names}
    got = jax.grad(loss, argnums=(0, 1))(*arguments)
    expected = without(jax.grad(loss, argnums=(0, 1)), *arguments)
    for one, other in zip(jax.tree.leaves(got), jax.tree.leaves(expected), strict=True):
        assert one.dtype == other.dtype
        one, other = (np.asarray(value, "float32") for value in (one, other))
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-5 * np.abs(other).max() if dtype != "bfloat16" else 0.5)


def test_a_derivative_along_a_direction_and_a_batch_of_products():
    x, w = normal(3, 8), normal(6, 8)

    def product(x):
        return for_jax.linears(x, (Bundle(w),))[0]

    np.testing.assert_allclose(jax.jvp(product, (x,), (x,))[1], x @ w.T, atol=1e-5)
    np.testing.assert_allclose(jax.vmap(product)(x[:, None])[:, 0], x @ w.T, atol=1e-5)
    batched = jax.vmap(lambda w: for_jax.linears(x, (Bundle(w),))[0])(jnp.stack([w, 2 * w]))
    np.testing.assert_allclose(batched[1], 2 * x @ w.T, atol=1e-5)


def test_what_is_exported_runs_where_there_is_no_library():
    x, w = normal(2, 8), normal(4, 8)
    exported = jax.export.export(jax.jit(kernels.linear))(x, Bundle(w))
    assert for_jax.PRODUCT not in str(exported.mlir_module())
    np.testing.assert_allclose(exported.call(x, Bundle(w)), x @ w.T, atol=1e-5)


def test_several_devices_are_left_to_xla():
    code = f"""
import jax, numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec as P
from intermodal import kernels
from intermodal.kernels import Bundle
rows = NamedSharding(Mesh(jax.devices(), ("x",)), P("x"))
x, w = np.ones((4, 8), "float32"), jax.device_put(np.ones((6, 8), "float32"), rows)
y = jax.jit(kernels.linear, out_shardings=rows)(x, Bundle(w))
assert (np.asarray(y) == 8).all()
assert "{for_jax.PRODUCT}" not in jax.jit(kernels.linear).lower(x, Bundle(w)).compile().as_text()
assert "{for_jax.PRODUCT}" in jax.jit(kernels.linear).lower(x, Bundle(np.asarray(w))).compile().as_text()
"""
    flags = {"XLA_FLAGS": "--xla_force_host_platform_device_count=2", "KERAS_BACKEND": "jax"}
    done = subprocess.run([sys.executable, "-c", code], env={**os.environ, **flags}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_environment_switches_them_off(monkeypatch):
    monkeypatch.setenv("INTERMODAL_PLUGINS", "-native")
    assert compiled.for_cpu.__wrapped__("jax") is None
    monkeypatch.delenv("INTERMODAL_PLUGINS")
    assert compiled.for_cpu.__wrapped__("jax") is for_jax
