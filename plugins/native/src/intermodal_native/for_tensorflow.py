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
from typing import Any

import tensorflow as tf
from tensorflow.compiler.tf2xla.python import xla  # pyright: ignore[reportMissingImports]

from intermodal_native.library import DTYPES, library

Tensor = Any

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
    for name, handler in ((PRODUCT, loaded.native_jax_product), (ATTEND, loaded.native_jax_attend)):
        if not loaded.native_xla_register(interface(), name.encode(), handler, why, len(why)):
            raise OSError(f"XLA in TensorFlow {tf.__version__} takes no foreign functions: {why.value.decode()}")


def _try() -> None:
    """Compute something small.

    Raises:
        RuntimeError: it cannot be computed, or is wrong.
    """
    x, weight = tf.constant([[1.0, 2.0]]), tf.constant([[3.0, 4.0], [5.0, 6.0]])
    try:
        compiled = tf.function(lambda x, weight: products(x, (weight,), (None,)), jit_compile=True, autograph=False)
        (y,) = compiled(x, weight)
        right = y.numpy().tolist() == [[11.0, 17.0]]
    except (tf.errors.OpError, TypeError, ValueError) as error:
        raise RuntimeError(f"TensorFlow {tf.__version__} does not call foreign functions of XLA: {error}") from error
    if not right:
        raise RuntimeError(f"foreign functions of XLA in TensorFlow {tf.__version__} are given other numbers than sent")


@functools.cache
def _program(target: str, operands: tuple[str, ...], results: tuple[str, ...], written: tuple[int, ...]) -> str:
    """A StableHLO program that calls a foreign function.

    Args:
        target: its name.
        operands, results: their types.
        written: for each of the last results the operand that is the same memory.
    """
    names = [f"%{index}" for index in range(len(operands))]
    first = len(results) - len(written)
    aliases = ", ".join(
        f"#stablehlo.output_operand_alias<output_tuple_indices = [{first + index}], operand_index = {operand}, "
        "operand_tuple_indices = []>"
        for index, operand in enumerate(written)
    )
    parameters = ", ".join(f"{name}: {kind}" for name, kind in zip(names, operands, strict=True))
    returned = ", ".join(f"%y#{index}" for index in range(len(results)))
    return f"""module {{
  func.func public @main({parameters}) -> ({", ".join(results)}) {{
    %y:{len(results)} = stablehlo.custom_call @{target}({", ".join(names)})
      {{api_version = 4 : i32, output_operand_aliases = [{aliases}]}}
      : ({", ".join(operands)}) -> ({", ".join(results)})
    return {returned} : {", ".join(results)}
  }}
}}"""


def _type(dtype: Any, shape: Sequence[int]) -> str:
    return f"tensor<{''.join(f'{size}x' for size in shape)}{MLIR[dtype]}>"


def _foreign(
    target: str, operands: Sequence[Tensor], shapes: Sequence[Sequence[int]], written: tuple[int, ...] = ()
) -> list[Tensor]:
    """Call a foreign function whose results are float32 of these shapes; `written` as in `_program`."""
    types = tuple(_type(x.dtype, x.shape) for x in operands)
    program = _program(target, types, tuple(_type(tf.float32, shape) for shape in shapes), written)
    dtypes = [tf.float32] * len(shapes)
    return xla.call_module(operands, version=VERSION, module=program, Tout=dtypes, Sout=shapes, platforms=["CPU"])


def supports(x: Tensor, weight: Tensor) -> bool:
    """Whether `products` takes these: float32 rows, and a matrix stored in one of the library's dtypes; known shapes."""
    known = x.shape.is_fully_defined() and weight.shape.is_fully_defined() and weight.shape.num_elements() > 0
    return known and x.dtype == tf.float32 and weight.shape.rank == 2 and weight.dtype.name in DTYPES


def products(x: Tensor, weights: tuple[Tensor, ...], scales: tuple[Tensor | None, ...]) -> tuple[Tensor, ...]:
    """x (…, in) float32 times the transpose of each weight (out, in), its rows scaled by (out, 1) float32 or not.

    At most 8 weights. There is no derivative.

    Returns:
        (…, out) float32 for each weight.
    """
    none = tf.zeros((0, 1))
    given = [none if scale is None else tf.cast(scale, tf.float32) for scale in scales]
    return tuple(_foreign(PRODUCT, [x, *weights, *given], [(*x.shape[:-1], w.shape[0]) for w in weights]))


def attend(
    cache: tuple[Tensor, Tensor], q: Tensor, k: Tensor, v: Tensor, offset: Tensor, seen: Tensor, scale: float
) -> tuple[tuple[Tensor, Tensor], Tensor]:
    """Write one new key and value of each row to the cache at `offset`, and attend to it up to there; all float32.

    There is no derivative.

    Args:
        cache: keys and values (B, K, capacity, D), written in place where a loop carries them.
        q: (B, N, 1, D). k, v: (B, K, 1, D).
        offset: below the capacity.
        seen: (B, capacity) bool, which keys each row sees.
        scale: of the scores.

    Returns:
        The cache, and (B, N, 1, D).
    """
    numbers = tf.cast(offset, tf.int32), tf.constant(scale, tf.float32)
    shapes = [q.shape, cache[0].shape, cache[1].shape]
    y, keys, values = _foreign(ATTEND, [q, k, v, *cache, seen, *numbers], shapes, written=(3, 4))
    return (keys, values), y


_register()
_try()
