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

jax.ffi.register_ffi_target(PRODUCT, jax.ffi.pycapsule(library().native_xla_product), platform="cpu")
jax.ffi.register_ffi_target(ATTEND, jax.ffi.pycapsule(library().native_xla_attend), platform="cpu")


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
    q: Tensor,
    k: Tensor,
    v: Tensor,
    keys: Tensor,
    values: Tensor,
    rows: Tensor,
    slots: Tensor,
    first: Tensor,
    last: Tensor,
    cosines: Tensor,
    sines: Tensor,
    scale: Tensor,
) -> tuple[Tensor, ...]:
    ranges = kernels.Ranges(rows if rows.size else None, slots, first, last if last.size else None)
    rope = None
    if cosines.size:
        rope = tuple(table.reshape(q.shape[0], 1, q.shape[1], -1) for table in (cosines, sines))
    options: Any = {"width": keys.shape[3], "rope": rope}
    cache = (keys, values) if keys.shape[2] else None
    given: Any = kernels.reference.attend_heads(cache, q, k, v, 0, ranges, scale, **options)
    cache, y = given
    return y, *(cache or (k, v))


_products = _foreign(PRODUCT, _plain_products)
_attend = _foreign(ATTEND, _plain_attend, written={3: 1, 4: 2})
_attend_to_each_other = _foreign(ATTEND, _plain_attend)


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
    cache: tuple[Tensor, Tensor] | None,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    ranges: kernels.Ranges,
    scale: float,
    rope: tuple[Tensor, Tensor] | None,
    width: int,
) -> tuple[tuple[Tensor, Tensor] | None, Tensor]:
    """Write the keys and values of new tokens to the cache, and attend to what each of them sees; all float32.

    Args:
        cache: keys and values (B, K, capacity, D), written in place where a loop carries them; None where the tokens
            of each of A rows attend to each other.
        q: (A, T, N·D). k, v: (A, T, K·D).
        ranges: of the A · T tokens.
        scale: of the scores.
        rope: tables (A or 1, 1, T, D/2) by which q and k are rotated first.
        width: D.

    Returns:
        The cache, and (A, T, N·D).
    """
    none, tables = jnp.zeros(0, jnp.int32), (jnp.zeros(0, jnp.float32),) * 2
    if rope is not None:
        shape = (q.shape[0], 1, *rope[0].shape[2:])
        tables = tuple(jnp.broadcast_to(table, shape).astype(jnp.float32) for table in rope)
    numbers = (none if x is None else jnp.asarray(x, jnp.int32) for x in ranges)
    if cache is None:
        empty = (jnp.zeros((q.shape[0], k.shape[2] // width, 0, width)),) * 2
        y, _, _ = _attend_to_each_other(q, k, v, *empty, *numbers, *tables, jnp.asarray(scale, jnp.float32))
        return None, y
    y, keys, values = _attend(q, k, v, *cache, *numbers, *tables, jnp.asarray(scale, jnp.float32))
    return (keys, values), y
