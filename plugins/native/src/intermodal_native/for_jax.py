"""Products and attention for JAX on a CPU: the library's, called by XLA as foreign functions."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from intermodal.api import kernels
from jax import lax
from jax.extend.core import Primitive
from jax.interpreters import batching, mlir

from intermodal_native.library import ACTIVATIONS, FLOATS, STORED, library

Tensor = Any

PRODUCT, ATTEND = "intermodal_product", "intermodal_attend"

jax.ffi.register_ffi_target(PRODUCT, jax.ffi.pycapsule(library().native_xla_product), platform="cpu")
jax.ffi.register_ffi_target(ATTEND, jax.ffi.pycapsule(library().native_xla_attend), platform="cpu")


def _foreign(
    target: str, plain: Callable[..., Any], written: dict[int, int] | None = None, *, apart: bool = False
) -> Callable[..., Any]:
    """A function that XLA computes by a foreign one.

    Args:
        target: the foreign function.
        plain: the same in JAX, tensors to a tuple of tensors. It serves where the foreign one cannot: for derivatives
            and batches, in what is exported, and where there is not exactly one CPU.
        written: operand → result that is the same memory.
        apart: `plain` is made of foreign functions itself. Where there is a derivative it computes everything, because
            what is needed for that is what lies between them.
    """

    @functools.cache
    def known(*operands: jax.ShapeDtypeStruct) -> list[Any]:
        return jax.eval_shape(plain, *operands)

    def lower(context: Any, *operands: Any) -> Any:
        module = context.module_context
        exported = getattr(module.lowering_parameters, "for_export", False)
        devices = getattr(module.axis_context, "num_devices", 1)
        if tuple(module.platforms) == ("cpu",) and not exported and devices == 1:
            return jax.ffi.ffi_lowering(target, operand_output_aliases=written)(context, *operands)
        return mlir.lower_fun(plain, multiple_results=True)(context, *operands)

    def shapes(*operands: Any) -> list[Any]:
        outputs = known(*(jax.ShapeDtypeStruct(x.shape, x.dtype) for x in operands))
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

    def derive(primals: Any, tangents: Any) -> Any:
        outputs, changes = jax.jvp(plain, primals, tangents)
        return (outputs if apart else function(*primals)), changes

    function.defjvp(derive)
    return function


class Form(NamedTuple):
    """What is computed with x before products, and with their sums; see `struct around` of `c/native.h`."""

    activation: str | None = None
    gated: bool = False
    added: bool = False
    normed: bool = False
    offset: bool = False
    epsilon: float = 0.0


PLAIN = Form()
AROUND = 3
"""Operands of a product that are not weights and what belongs to them: residual, weight of the norm, numbers."""


def _plain_products(x: Tensor, *given: Tensor) -> tuple[Tensor, ...]:
    count = (len(given) - AROUND) // 4
    weights, scales, minima, biases = (given[part * count : (part + 1) * count] for part in range(4))
    outputs = []
    for weight, scale, minimum, bias in zip(weights, scales, minima, biases, strict=True):
        if scale.size and kernels.in_groups(weight, scale, minimum if minimum.size else None):
            weight = kernels.widen_groups(weight, scale, minimum if minimum.size else None, "float32")
            scale = scale[:0]
        y = lax.dot_general(x, weight.astype(x.dtype), (((x.ndim - 1,), (1,)), ((), ())))
        y = y * scale[:, 0] if scale.size else y
        outputs.append(y + bias.astype(x.dtype) if bias.size else y)
    return tuple(outputs)


def _apart(form: Form, x: Tensor, *given: Tensor) -> tuple[Tensor, ...]:
    """The products of a form, and what is around them each by itself."""
    *parts, residual, norm, numbers = given
    if form.normed:
        function = kernels.offset_rms_norm if form.offset else kernels.rms_norm
        x = function(x, kernels.Bundle(norm), form.epsilon)
    first, *others = _products(PLAIN)(x, *parts, residual[:0], norm[:0], jnp.zeros_like(numbers))
    if form.activation is not None:
        first = kernels.activation(form.activation)(first)
    if form.gated:
        return (first * others[0],)
    return (residual + first if form.added else first, *others)


@functools.cache
def _products(form: Form) -> Callable[..., Any]:
    if form == PLAIN:
        return _foreign(PRODUCT, _plain_products)
    return _foreign(PRODUCT, functools.partial(_apart, form), apart=True)


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


_attend = _foreign(ATTEND, _plain_attend, written={3: 1, 4: 2})
_attend_to_each_other = _foreign(ATTEND, _plain_attend)


def supports(x: Tensor, bundles: tuple[kernels.Bundle, ...], activation: str | None = None) -> bool:
    """Whether `linears` takes these: float32 rows, matrices in its dtypes without adapters, its activations."""
    return (
        x.dtype == jnp.float32
        and activation in ACTIVATIONS
        and all(_takes(w.weight) and w.lora_a is None for w in bundles)
    )


def _takes(weight: Tensor) -> bool:
    return weight.ndim == 2 and str(weight.dtype) in STORED and weight.size > 0


def linears(
    x: Tensor,
    bundles: tuple[kernels.Bundle, ...],
    norm: kernels.Norm | None = None,
    activation: str | None = None,
    residual: Tensor | None = None,
    *,
    gated: bool = False,
) -> tuple[Tensor, ...]:
    """Linears of x (…, in) float32, at most 8 of them, as `kernels.linear` and its neighbours have them.

    Args:
        x: the activations.
        bundles: weights (out, in), or (out, in / 2) of 4 bits, and what belongs to them, of one that `supports` takes.
        norm: of x, before.
        activation: of one product, or of the first where `gated`.
        residual: (…, out), added to one product.
        gated: the first of two is multiplied by the second.

    Returns:
        (…, out) float32 for each weight; or one, where `gated`.
    """
    none = jnp.zeros((0, 1), jnp.float32)
    parts = [[w.weight for w in bundles]]
    parts += [
        [none if y is None else _scale(y) for y in (getattr(w, part) for w in bundles)] for part in ("scale", "minimum")
    ]
    parts += [[none if w.bias is None else _float(w.bias) for w in bundles]]
    form = Form(activation, gated, residual is not None)
    if norm is not None:
        form = form._replace(normed=True, offset=norm.offset, epsilon=norm.epsilon)
    around = (
        none if residual is None else residual.astype(jnp.float32),
        none if norm is None else _float(norm.w.weight),
        jnp.asarray([ACTIVATIONS[activation], gated, form.offset, form.epsilon], jnp.float32),
    )
    return _products(form)(x, *(tensor for part in parts for tensor in part), *around)


def _scale(tensor: Tensor) -> Tensor:
    return tensor if tensor.dtype == jnp.float16 else tensor.astype(jnp.float32)


def _float(tensor: Tensor) -> Tensor:
    return tensor if str(tensor.dtype) in FLOATS else tensor.astype(jnp.float32)


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
