"""Products and attention for TensorFlow on a CPU: the library's, called by XLA as foreign functions.

TensorFlow has no way to register them but its XLA's own C interface, and none to call them but a small StableHLO
program. Both are tried once when this module is imported.
"""

from __future__ import annotations

import ctypes
import functools
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import tensorflow as tf
from intermodal.api import kernels
from tensorflow.compiler.tf2xla.python import xla  # pyright: ignore[reportMissingImports]

from intermodal_native.library import ACTIVATIONS, FLOATS, STORED, library

Tensor = Any
Shape = tuple[int | None, ...]

PRODUCT, ATTEND = "intermodal_product", "intermodal_attend"

INTERFACE = "_ZN3xla3ffi12GetXlaFfiApiEv"
"""`const XLA_FFI_Api* xla::ffi::GetXlaFfiApi()`, as compilers name it."""

VERSION = 5
"""Of the operation `XlaCallModule`: the first that knows these custom calls."""

MLIR = {
    tf.float32: "f32",
    tf.bfloat16: "bf16",
    tf.float16: "f16",
    tf.int8: "i8",
    tf.uint8: "ui8",
    tf.int32: "i32",
    tf.bool: "i1",
}
"""StableHLO's names of the dtypes."""


def _register() -> None:
    """Tell the XLA of this TensorFlow of the library's functions.

    Raises:
        OSError: it does not have the interface, or another version of it.
    """
    folder = Path(tf.__file__).parent
    paths = sorted(folder.glob("libtensorflow_cc.*"))
    if not paths:
        raise OSError(f"{folder} has no libtensorflow_cc, through which XLA is told of foreign functions")
    try:
        interface = getattr(ctypes.CDLL(str(paths[0]), mode=os.RTLD_NOLOAD | os.RTLD_LOCAL), INTERFACE)
    except AttributeError as error:
        raise OSError(f"{paths[0]} of TensorFlow {tf.__version__} does not give XLA's C interface: {error}") from error
    interface.restype = ctypes.c_void_p
    loaded, why = library(), ctypes.create_string_buffer(500)
    for name, handler in ((PRODUCT, loaded.native_xla_product), (ATTEND, loaded.native_xla_attend)):
        if not loaded.native_xla_register(interface(), name.encode(), handler, why, len(why)):
            raise OSError(f"XLA in TensorFlow {tf.__version__} takes no foreign functions: {why.value.decode()}")


def _try() -> None:
    """Compute something small.

    Raises:
        RuntimeError: it cannot be computed, or is wrong.
    """
    x, weight = tf.constant([[1.0, 2.0]]), tf.constant([[3.0, 4.0], [5.0, 6.0]])
    try:
        compiled = tf.function(
            lambda x, weight: linears(x, (kernels.Bundle(weight),)), jit_compile=True, autograph=False
        )
        (y,) = compiled(x, weight)
        right = y.numpy().tolist() == [[11.0, 17.0]]
    except (tf.errors.OpError, TypeError, ValueError) as error:
        raise RuntimeError(f"TensorFlow {tf.__version__} does not call foreign functions of XLA: {error}") from error
    if not right:
        raise RuntimeError(f"foreign functions of XLA in TensorFlow {tf.__version__} are given other numbers than sent")


class _Call(NamedTuple):
    """A call of a foreign function, with results in float32.

    Attributes:
        target: its name.
        operands: their dtypes and shapes, where None is a size that is not known yet.
        shapes: of the results; None is the size of the first operand at the same place.
        written: for each of the last results the operand that is the same memory.
    """

    target: str
    operands: tuple[tuple[Any, Shape], ...]
    shapes: tuple[Shape, ...]
    written: tuple[int, ...] = ()


@functools.cache
def _program(call: _Call) -> str:
    """The StableHLO program that does nothing but this call."""
    operands = [_type(*operand) for operand in call.operands]
    results = [_type(tf.float32, shape) for shape in call.shapes]
    names = [f"%{index}" for index in range(len(operands))]
    arguments, kinds, lines = list(names), list(operands), []
    open_shapes = any(None in shape for shape in call.shapes)
    for number, shape in enumerate(call.shapes if open_shapes else ()):  # XLA then asks for all of them as numbers
        for axis, size in enumerate(shape):
            name = f"%size{number}_{axis}"
            if size is None:
                lines.append(
                    f"{name}s = stablehlo.get_dimension_size %0, dim = {axis} : ({operands[0]}) -> tensor<i32>"
                )
                lines.append(f"{name} = stablehlo.reshape {name}s : (tensor<i32>) -> tensor<1xi32>")
            else:
                lines.append(f"{name} = stablehlo.constant dense<[{size}]> : tensor<1xi32>")
        sizes, one = ", ".join(f"%size{number}_{axis}" for axis in range(len(shape))), ["tensor<1xi32>"] * len(shape)
        kind = f"tensor<{len(shape)}xi32>"
        lines.append(f"%shape{number} = stablehlo.concatenate {sizes}, dim = 0 : ({', '.join(one)}) -> {kind}")
        arguments.append(f"%shape{number}")
        kinds.append(kind)
    first = len(results) - len(call.written)
    aliases = ", ".join(
        f"#stablehlo.output_operand_alias<output_tuple_indices = [{first + index}], operand_index = {operand}, "
        "operand_tuple_indices = []>"
        for index, operand in enumerate(call.written)
    )
    options = f"api_version = 4 : i32, output_operand_aliases = [{aliases}]"
    if open_shapes:
        places = list(range(len(operands), len(arguments)))
        options += f", indices_of_shape_operands = dense<{places}> : tensor<{len(places)}xi64>"
    lines.append(f"%y:{len(results)} = stablehlo.custom_call @{call.target}({', '.join(arguments)}) {{{options}}}")
    lines.append(f"  : ({', '.join(kinds)}) -> ({', '.join(results)})")
    lines.append(f"return {', '.join(f'%y#{index}' for index in range(len(results)))} : {', '.join(results)}")
    parameters = ", ".join(f"{name}: {kind}" for name, kind in zip(names, operands, strict=True))
    head = f"func.func public @main({parameters}) -> ({', '.join(results)})"
    return "\n".join(["module {", f"{head} {{", *lines, "}", "}"])


def _type(dtype: Any, shape: Shape) -> str:
    sizes = ("?" if size is None else str(size) for size in shape)
    return f"tensor<{'x'.join((*sizes, MLIR[dtype]))}>"


def _foreign(target: str, operands: Sequence[Tensor], shapes: Sequence[Shape], written: tuple[int, ...] = ()) -> Any:
    """Call a foreign function; see `_Call`. A tape that is open around it is told to look no further."""
    kinds = tuple((x.dtype, tuple(x.shape)) for x in operands)
    call = _Call(target, kinds, tuple(map(tuple, shapes)), written)
    dtypes = [tf.float32] * len(shapes)
    results = xla.call_module(
        operands, version=VERSION, module=_program(call), Tout=dtypes, Sout=call.shapes, platforms=["CPU"]
    )
    return [tf.stop_gradient(result) for result in results]


def supports(x: Tensor, bundles: tuple[kernels.Bundle, ...], activation: str | None = None) -> bool:
    """Whether `linears` takes these: float32 rows, of open number too, matrices in its dtypes without adapters."""
    known = x.shape.rank is not None and x.dtype == tf.float32 and activation in ACTIVATIONS
    return known and all(_takes(w.weight) and w.lora_a is None for w in bundles)


def _takes(weight: Tensor) -> bool:
    known = weight.shape.is_fully_defined() and weight.shape.num_elements() > 0
    return known and weight.shape.rank == 2 and weight.dtype.name in STORED


def linears(
    x: Tensor,
    bundles: tuple[kernels.Bundle, ...],
    norm: kernels.Norm | None = None,
    activation: str | None = None,
    residual: Tensor | None = None,
    *,
    gated: bool = False,
) -> tuple[Tensor, ...]:
    """Linears of x (…, in) float32, at most 8 of them, as `kernels.linear` and its neighbours have them. No derivative.

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
    none = tf.zeros((0, 1))
    operands = [x, *(w.weight for w in bundles)]
    for part in ("scale", "minimum"):
        operands += [none if y is None else _scale(y) for y in (getattr(w, part) for w in bundles)]
    operands += [none if w.bias is None else _float(w.bias) for w in bundles]
    operands.append(none if residual is None else tf.cast(residual, tf.float32))
    operands.append(none if norm is None else _float(norm.w.weight))
    offset, epsilon = (False, 0.0) if norm is None else (norm.offset, norm.epsilon)
    operands.append(tf.constant([ACTIVATIONS[activation], gated, offset, epsilon], tf.float32))
    lead = tuple(x.shape)[:-1]
    return tuple(
        _foreign(PRODUCT, operands, [(*lead, int(w.weight.shape[0])) for w in bundles[: 1 if gated else None]])
    )


def _scale(tensor: Tensor) -> Tensor:
    return tensor if tensor.dtype == tf.float16 else tf.cast(tensor, tf.float32)


def _float(tensor: Tensor) -> Tensor:
    return tensor if tensor.dtype.name in FLOATS else tf.cast(tensor, tf.float32)


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

    All shapes are known, but without a cache A and T may be open. There is no derivative.

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
    none, tables = tf.zeros(0, tf.int32), (tf.zeros(0),) * 2
    if rope is not None:
        shape = (tf.shape(q)[0], 1, tf.shape(q)[1], width // 2)
        tables = tuple(tf.cast(tf.broadcast_to(table, shape), tf.float32) for table in rope)
    numbers = [none if x is None else tf.cast(x, tf.int32) for x in ranges]
    more = [*numbers, *tables, tf.constant(scale, tf.float32)]
    if cache is None:
        empty = tf.zeros((tf.shape(q)[0], k.shape[2] // width, 0, width))
        y, _, _ = _foreign(ATTEND, [q, k, v, empty, empty, *more], [tuple(x.shape) for x in (q, k, v)])
        return None, y
    shapes = [tuple(x.shape) for x in (q, *cache)]
    y, keys, values = _foreign(ATTEND, [q, k, v, *cache, *more], shapes, written=(3, 4))
    return (keys, values), y


_register()
_try()
