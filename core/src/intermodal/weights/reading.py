"""Reading one weight's values out of a checkpoint: in place where nothing changes, through little where it does."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from intermodal.checkpoints.base import TensorInfo
from intermodal.dtypes import numpy_dtype
from intermodal.errors import WeightError
from intermodal.weights.map import Part, Variable
from intermodal.weights.packing import Packing
from intermodal.weights.plan import Piece
from intermodal.weights.transforms import IDENTITY

if TYPE_CHECKING:
    from intermodal.checkpoints.base import Checkpoint

_COMPARED = 4 << 20  # bytes of each of two tensors that are compared at a time


def is_plain(pieces: Sequence[Piece]) -> bool:
    """Whether a variable's values are a tensor's, or some of its rows, as they lie in the file but for their dtype."""
    alias = pieces[0].alias
    rows = alias.part is None or alias.part.axis == 0
    return len(pieces) == 1 and pieces[0].place is None and alias.transform is IDENTITY and rows


def packing_of(checkpoint: Checkpoint, variable: Variable, pieces: Sequence[Piece]) -> Packing | None:
    """How a variable can be held as its tensors are packed; None where they are not, or not by the rows of a matrix."""
    if variable.role not in ("linear", "embedding") or not all(map(_keeps_rows, pieces)):
        return None
    found = {checkpoint.packing(piece.source.name) for piece in pieces}
    return found.pop() if len(found) == 1 else None


def _keeps_rows(piece: Piece) -> bool:
    """Whether a weight is a whole tensor with its rows as they are, in any order."""
    by_rows = piece.place is None or piece.place.axis == 0
    return piece.alias.part is None and by_rows and piece.alias.transform.keeps_rows


def read_packed_piece(checkpoint: Checkpoint, piece: Piece, packing: Packing, targets: dict[str, np.ndarray]) -> None:
    """Read one weight of a variable that has a `packing_of` into its rows of the arrays that it is packed in.

    Only transforms need memory of their own: the packed tensor.
    """
    source, transform = piece.source, piece.alias.transform
    rows = {field: part_of(target, piece.place) for field, target in targets.items()}
    if transform is IDENTITY:
        checkpoint.read_packed(source.name, rows)
        return
    arrays = packing.empty(piece.weight.shape)
    checkpoint.read_packed(source.name, arrays)
    for field, array in arrays.items():
        np.copyto(rows[field], transform.load(array))


def read_piece(checkpoint: Checkpoint, piece: Piece, target: np.ndarray) -> None:
    """Read one weight into `target`, which decides the dtype.

    Only transforms, and parts across rows, need memory of their own: the tensor, in the checkpoint's dtype.

    Raises:
        WeightError: what the transform gives has another shape than `target`.
    """
    source, part, transform = piece.source, piece.alias.part, piece.alias.transform
    by_rows = part is not None and part.axis == 0
    row = part.start if part is not None and by_rows else 0
    if transform is IDENTITY and target.flags.c_contiguous and (part is None or by_rows):
        checkpoint.read_into(source.name, target, row)
        return
    shape = (part.size, *source.shape[1:]) if part is not None and by_rows else source.shape
    values = _rows(checkpoint, source, row, shape)
    values = transform.load(values if by_rows else part_of(values, part))
    if values.shape != target.shape:
        raise WeightError(
            f"{source.name} in {source.file} came out as {values.shape}, "
            f"expected {target.shape} for {piece.weight.name}"
        )
    with np.errstate(over="ignore"):  # what a narrow dtype cannot hold is infinite in it
        np.copyto(target, values, casting="unsafe")


def part_of(values: np.ndarray, part: Part | None) -> np.ndarray:
    """One weight's values out of a tensor or a variable that holds several."""
    return values if part is None else values[part.index()]


def tied_copy_differs(checkpoint: Checkpoint, source: str, other: str) -> bool:
    """Whether two tensors of a checkpoint, of one shape, differ anywhere. Reads them by chunks of rows."""
    left, right = checkpoint.tensors[source], checkpoint.tensors[other]
    if left.shape != right.shape:
        return True
    count = left.shape[0] if left.shape else 1
    rows = max(1, _COMPARED * count // max(1, left.nbytes))
    for row in range(0, count, rows):
        shape = (min(rows, count - row), *left.shape[1:]) if left.shape else ()
        if not np.array_equal(_rows(checkpoint, left, row, shape), _rows(checkpoint, right, row, shape)):
            return True
    return False


def _rows(checkpoint: Checkpoint, info: TensorInfo, row: int, shape: tuple[int, ...]) -> np.ndarray:
    values = np.empty(shape, numpy_dtype(info.dtype))
    checkpoint.read_into(info.name, values, row)
    return values
