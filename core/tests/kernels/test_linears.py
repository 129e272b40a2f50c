"""Linears with a norm before them, and an activation, a gate or a residual after: what the parts give one by one."""

import keras
import numpy as np
import pytest
from intermodal import kernels
from intermodal.kernels import Bundle, Norm, reference
from keras import ops

pytestmark = pytest.mark.backend

random = np.random.default_rng(6)

NAMES = {"silu": "silu", "gelu": "gelu", "gelu_pytorch_tanh": "gelu_tanh", "relu": "relu", "tanh": "tanh"}


def tensor(*shape, dtype="float32"):
    return ops.cast(ops.convert_to_tensor(random.standard_normal(shape).astype("float32")), dtype)


def close(got, expected, tolerance=4e-6):
    got, expected = (ops.convert_to_numpy(ops.cast(x, "float32")) for x in (got, expected))
    assert got.shape == expected.shape
    np.testing.assert_allclose(got, expected, rtol=0, atol=tolerance * max(1, np.abs(expected).max()))


def plain(outputs, *, dtype="float32"):
    return Bundle(tensor(outputs, 16, dtype=dtype), tensor(outputs, dtype=dtype))


BUNDLES = {
    "plain": plain,
    "in bfloat16": lambda outputs: plain(outputs, dtype="bfloat16"),
    "without bias": lambda outputs: plain(outputs)._replace(bias=None),
    "int8": lambda outputs: Bundle(
        ops.cast(tensor(outputs, 16) * 40, "int8"), tensor(outputs), ops.abs(tensor(outputs, 1))
    ),
    "lora": lambda outputs: plain(outputs)._replace(
        lora_a=tensor(2, 16), lora_b=tensor(outputs, 2), lora_scale=ops.convert_to_tensor(0.5)
    ),
}

NORMS = {
    "no norm": lambda: None,
    "norm": lambda: Norm(Bundle(tensor(16)), 1e-2),
    "offset norm": lambda: Norm(Bundle(tensor(16, dtype="bfloat16")), 1e-2, offset=True),
}


def normed(x, norm):
    if norm is None:
        return x
    return (reference.offset_rms_norm if norm.offset else reference.rms_norm)(x, norm.w, norm.epsilon)


@pytest.fixture(params=["traced", "without gradients", "as it is"])
def run(request):
    """Computes in each of the ways that decide what computes: a program of XLA, a generation on PyTorch, a training."""

    def by(function):
        if request.param == "as it is":
            return function()
        if keras.backend.backend() == "jax":
            import jax

            return jax.jit(function)()
        if keras.backend.backend() == "torch":
            import torch

            with torch.inference_mode():
                return function()
        import tensorflow as tf

        with kernels.inference():
            return tf.function(function, jit_compile=True, autograph=False)()

    return by


@pytest.mark.parametrize(
    ("kind", "norm"), zip(BUNDLES, ("norm", "offset norm", "no norm", "norm", "offset norm"), strict=True)
)
@pytest.mark.parametrize("shape", [(1, 1), (2, 13)])
def test_each_part_has_its_place(shape, kind, norm, run):
    x, w, other, norm = tensor(*shape, 16) * 2, BUNDLES[kind](6), BUNDLES[kind](6), NORMS[norm]()
    residual, given = tensor(*shape, 6), normed(x, norm)
    first, second = reference.linear(given, w), reference.linear(given, other)
    expected = (
        *(first, second, residual + first),
        *(residual + reference.gelu(first), reference.silu(first) * second),
    )

    def forms(form):
        return (
            *form.linears(x, w, other, norm=norm),
            form.linear(x, w, norm=norm, residual=residual),
            form.linear(x, w, norm=norm, activation="gelu", residual=residual),
            form.gated_linear(x, w, other, "silu", norm=norm),
        )

    for form in (kernels, reference):
        for got, wanted in zip(run(lambda f=form: forms(f)), expected, strict=True):
            close(got, wanted)


@pytest.mark.parametrize("name", NAMES)
def test_activations_have_the_names_of_configs(name, run):
    x, w, other = tensor(2, 3, 16) * 2, plain(6), plain(6)
    function = getattr(reference, NAMES[name])
    first, second = reference.linear(x, w), reference.linear(x, other)
    close(kernels.activation(name)(first), function(first))
    for form in (kernels, reference):
        one, gate = run(lambda f=form: (f.linear(x, w, activation=name), f.gated_linear(x, w, other, name)))
        close(one, function(first))
        close(gate, function(first) * second)
