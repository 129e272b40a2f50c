"""Products and attention for JAX on a CPU: the library's, called by XLA as foreign functions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from intermodal.api import kernels
from jax import lax
from jax.extend.core import Primitive
from jax.interpreters import batching, mlir

from intermodal_native.library import STORED, library

Tensor = Any

PRODUCT, ATTEND = "intermodal_product", "intermodal_attend"

jax.ffi.register_ffi_target(PRODUCT, jax.ffi.pycapsule(library().native_jax_product), platform="cpu")
jax.ffi.register_ffi_target(ATTEND, jax.ffi.pycapsule(library().native_jax_attend), platform="cpu")


def _foreign(target: str, plain: Callable[..., Any], written: dict[int, int] | None = None) -> Callable[..., Any]:
    """A function that XLA computes by a foreign one.

    Args:
        target: the foreign function.
        plain: the same in JAX, tensors to a tuple of tensors. It serves where the foreign one cannot: for derivatives
            and batches, in what is exported, and where there is not exactly one CPU.
        written: operand → result that is the same memory.
    """

    def lower(context: Any, *operands: Any) -> Any:
        module = context.module_context
        exported = getattr(module.lowering_parameters, "for_export", False)
        devices = getattr(module.axis_context, "num_devices", 1)
        if tuple(module.platforms) == ("cpu",) and not exported and devices == 1:
            return jax.ffi.ffi_lowering(target, operand_output_aliases=written)(context, *operands)
        return mlir.lower_fun(plain, multiple_results=True)(context, *operands)

    def shapes(*operands: Any) -> list[Any]:
        outputs = jax.eval_shape(plain, *(jax.ShapeDtypeStruct(x.shape, x.dtype) for x in operands))
        return [operands[0].update(shape=output.shape, dtype=output.dtype) for output in outputs]

    def batch(operands: Any, axes: Any) -> Any:
        outputs = jax.vmap(plain, in_axes=axes)(*operands)
        return outputs, [0] * len(outputs)

    def compute(*operands: Any) -> Any:
        with jax.disable_jit(False):  # a call by itself is compiled anyway: there is no other way to the library
            return compiled(*operands)

    primitive = Primitive(target)
    primitive.multiple_results = True
    compiled = jax.jit(primitive.bind)
    primitive.def_impl(compute)
    primitive.def_abstract_eval(shapes)
    batching.primitive_batchers[primitive] = batch
    mlir.register_lowering(primitive, lower)
    function = jax.custom_jvp(lambda *operands: tuple(primitive.bind(*operands)))
    function.defjvp(lambda primals, tangents: (function(*primals), jax.jvp(plain, primals, tangents)[1]))
    return function


def _plain_products(x: Tensor, *given: Tensor) -> tuple[Tensor, ...]:
    count = len(given) // 3
    outputs = []
    for weight, scale, minimum in zip(given[:count], given[count : 2 * count], given[2 * count :], strict=True):
        if scale.size and kernels.in_groups(weight, scale, minimum if minimum.size else None):
            weight = kernels.widen_groups(weight, scale, minimum if minimum.size else None, "float32")
            scale = scale[:0]
        y = lax.dot_general(x, weight.astype(x.dtype), (((x.ndim - 1,), (1,)), ((), ())))
        outputs.append(y * scale[:, 0] if scale.size else y)
    return tuple(outputs)


def _plain_attend(
    q: Tensor, k: Tensor, v: Tensor, keys: Tensor, values: Tensor, seen: Tensor, offset: Tensor, scale: Tensor
) -> tuple[Tensor, ...]:
    batch, heads, _, width = q.shape
    keys, values = (lax.dynamic_update_slice(part, new, (0, 0, offset, 0)) for part, new in ((keys, k), (values, v)))
    scores = jnp.einsum("bkgd,bksd->bkgs", q.reshape(batch, keys.shape[1], -1, width), keys) * scale
    weights = jax.nn.softmax(jnp.where(seen[:, None, None], scores, -1e30), axis=-1)
    y = jnp.einsum("bkgs,bksd->bkgd", weights, values).reshape(batch, heads, 1, width)
    return y, keys, values


_products = _foreign(PRODUCT, _plain_products)
_attend = _foreign(ATTEND, _plain_attend, written={3: 1, 4: 2})


def supports(x: Tensor, weight: Tensor) -> bool:
    """Whether `products` takes these: float32 rows, and a matrix stored in one of the library's dtypes."""
    return x.dtype == jnp.float32 and weight.ndim == 2 and str(weight.dtype) in STORED and weight.size > 0


def products(
    x: Tensor,
    weights: tuple[Tensor, ...],
    scales: tuple[Tensor | None, ...],
    minima: tuple[Tensor | None, ...] | None = None,
) -> tuple[Tensor, ...]:
    """x (…, in) float32 times the transpose of each weight, at most 8 of them.

    Args:
        x: the activations.
        weights: (out, in), or (out, in / 2) of 4 bits.
        scales: (out, 1), or one for each group of a row; None where there is none.
        minima: as scales.

    Returns:
        (…, out) float32 for each weight.
    """
    none = jnp.zeros((0, 1), jnp.float32)
    given = (*scales, *(minima or (None,) * len(weights)))
    return _products(x, *weights, *(none if tensor is None else _scale(tensor) for tensor in given))


def _scale(tensor: Tensor) -> Tensor:
    return tensor if tensor.dtype == jnp.float16 else tensor.astype(jnp.float32)


def attend(
    cache: tuple[Tensor, Tensor], q: Tensor, k: Tensor, v: Tensor, offset: Tensor, seen: Tensor, scale: float
) -> tuple[tuple[Tensor, Tensor], Tensor]:
    """Write one new key and value of each row to the cache at `offset`, and attend to it up to there; all float32.

    Args:
        cache: keys and values (B, K, capacity, D), written in place where a loop carries them.
        q: (B, N, 1, D). k, v: (B, K, 1, D).
        offset: below the capacity.
        seen: (B, capacity) bool, which keys each row sees.
        scale: of the scores.

    Returns:
        The cache, and (B, N, 1, D).
    """
    numbers = jnp.asarray(offset, jnp.int32), jnp.asarray(scale, jnp.float32)
    y, keys, values = _attend(q, k, v, *cache, seen, *numbers)
    return (keys, values), y
