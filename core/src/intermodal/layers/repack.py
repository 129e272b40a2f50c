"""Weights laid out once more for generating: on PyTorch and a CPU, where nothing is compiled that could do it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NamedTuple

import keras

from intermodal.errors import WeightError
from intermodal.layers.storage import device_kind

if TYPE_CHECKING:
    from intermodal.tasks.base import TaskModel


class Repacked(NamedTuple):
    """What `repack` did.

    Attributes:
        weights: how many were packed.
        nbytes: of memory that they take, beside the model's own.
        seconds: that it took.
        left: names of narrow weights that cannot be packed exactly, and are widened at each use as before.
    """

    weights: int
    nbytes: int
    seconds: float
    left: tuple[str, ...]


def repack(model: TaskModel) -> Repacked:
    """Pack every narrow linear for products without gradients, one at a time. See `TaskModel.repack`."""
    if keras.backend.backend() != "torch" or device_kind() != "cpu":
        where = f"{keras.backend.backend()} on a {device_kind()}"
        raise WeightError(f"repack is for PyTorch on a CPU, and this is {where}, which needs none: leave it out.")
    import torch

    from intermodal.kernels.torch_packed import can_pack, pack

    if not can_pack():
        raise WeightError(
            "repack needs PyTorch's FBGEMM, which this build or processor has not "
            f'(engines: {", ".join(torch.backends.quantized.supported_engines)}): load with dtype="float32" instead.'
        )
    started = time.perf_counter()
    tied = {weight.tied_to for weight in model.weight_map.weights if weight.tied_to is not None}
    sizes, left = [], []
    for part in model.parts():
        part.packed.clear()
        for variable in part.declared:
            value = part.by_name[variable.name].value
            multiplied = variable.role == "linear" or variable.name in tied
            if not multiplied or value.ndim != 2 or value.dtype == torch.float32:
                continue
            packed = pack(value)
            if packed is None:
                left.append(variable.name)
            else:
                part.packed[variable.name] = packed
                sizes.append(2 * value.numel())
    if not sizes and not left:
        raise WeightError(
            "No linear is stored narrower than float32, so there is nothing to repack: "
            'load with dtype="bfloat16", or call model.quantize("int8") before.'
        )
    return Repacked(len(sizes), sum(sizes), time.perf_counter() - started, tuple(left))
