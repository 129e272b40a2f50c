"""Products for JAX on a CPU: the library's, called by XLA as a foreign function."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.extend.core import Primitive
from jax.interpreters import batching, mlir

from intermodal_native.library import DTYPES, library

TARGET = "intermodal_product"

Tensor = Any

jax.ffi.register_ffi_target(TARGET, jax.ffi.pycapsule(library().native_jax_product), platform="cpu")


def supports(x: Tensor, weight: Tensor) -> bool:
    """Whether `products` takes these: float32 rows, and a matrix stored in one of the library's dtypes."""
    return x.dtype == jnp.float32 and weight.ndim == 2 and str(weight.dtype) in DTYPES and weight.size > 0


@jax.custom_jvp
def products(x: Tensor, weights: tuple[Tensor, ...], scales: tuple[Tensor | None, ...]) -> tuple[Tensor, ...]:
    """x (…, in) float32 times the transpose of each weight (out, in), its rows scaled by (out, 1) float32 or not.

    At most 8 weights. Differentiable as the products of jax.numpy are.

    Returns:
        (…, out) float32 for each weight.
    """
    none = jnp.zeros((0, 1), jnp.float32)
    return tuple(_products.bind(x, *weights, *(none if scale is None else scale for scale in scales)))


@products.defjvp
def _derivative(primals: Any, tangents: Any) -> Any:
    def plain(x: Tensor, weights: Any, scales: Any) -> tuple[Tensor, ...]:
        return tuple(_plain_product(x, w, s) for w, s in zip(weights, scales, strict=True))

    return products(*primals), jax.jvp(plain, primals, tangents)[1]


def _plain_product(x: Tensor, weight: Tensor, scale: Tensor | None) -> Tensor:
    y = lax.dot_general(x, weight.astype(x.dtype), (((x.ndim - 1,), (1,)), ((), ())))
    return y if scale is None or not scale.size else y * scale[:, 0]


def _plain(x: Tensor, *given: Tensor) -> tuple[Tensor, ...]:
    """What the foreign function computes, for the same operands, in XLA's own operations."""
    count = len(given) // 2
    return tuple(_plain_product(x, *pair) for pair in zip(given[:count], given[count:], strict=True))


def _lower(context: Any, *operands: Any) -> Any:
    """The foreign function where one CPU computes; XLA's operations elsewhere, and in what is exported."""
    module = context.module_context
    exported = getattr(module.lowering_parameters, "for_export", False)
    devices = getattr(module.axis_context, "num_devices", 1)
    if tuple(module.platforms) == ("cpu",) and not exported and devices == 1:
        return jax.ffi.ffi_lowering(TARGET)(context, *operands)
    return mlir.lower_fun(_plain, multiple_results=True)(context, *operands)


def _abstract(x: Any, *given: Any) -> list[Any]:
    return [x.update(shape=(*x.shape[:-1], weight.shape[0])) for weight in given[: len(given) // 2]]


def _batch(operands: Any, axes: Any) -> Any:
    outputs = jax.vmap(_plain, in_axes=axes)(*operands)
    return outputs, [0] * len(outputs)


_products = Primitive(TARGET)
_products.multiple_results = True
_products.def_impl(jax.jit(_products.bind))
_products.def_abstract_eval(_abstract)
batching.primitive_batchers[_products] = _batch
mlir.register_lowering(_products, _lower)
