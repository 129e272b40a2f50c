"""Narrow weights packed for products on a CPU: stored in 16 bits, computed in float32, by PyTorch's own FBGEMM.

Its kernel takes float16, which has fewer exponents than bfloat16 and more digits. A power of two brings the largest
value near the top of float16's range; what lies within a factor of 2**32 of it is then held exactly, and a weight for
which that is not so is not packed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Packed:
    """One weight, packed.

    Attributes:
        matrix: FBGEMM's own object, 2 bytes an element.
        factor: a power of two, by which its products are multiplied.
        source: the tensor it was made of. `version`: how often that had been written to.
    """

    matrix: Any
    factor: float
    source: Tensor
    version: int

    def is_of(self, tensor: Tensor) -> bool:
        """Whether `tensor` still is what was packed."""
        return tensor is self.source and tensor._version == self.version


def can_pack() -> bool:
    """Whether this build of PyTorch has FBGEMM, on a processor that it runs on."""
    return (
        torch.backends.quantized.engine in ("fbgemm", "x86") and "fbgemm" in torch.backends.quantized.supported_engines
    )


def pack(weight: Tensor) -> Packed | None:
    """Pack a weight (out, in) of a float or integer dtype; None where float16 would not hold it exactly.

    Takes 6 bytes an element while it works, and 2 afterwards.
    """
    wide = weight.detach().to(torch.float32, copy=True)
    largest = max(wide.max().item(), -wide.min().item())
    if not math.isfinite(largest):
        return None
    exponent = min(15 - math.frexp(largest)[1], 100)  # beyond, the power itself would leave float32
    wide *= 2.0**exponent
    if not torch.equal(wide.half().float(), wide):
        return None
    matrix = torch.ops.quantized.linear_prepack_fp16(wide, None)
    return Packed(matrix, 2.0**-exponent, weight, weight._version)


def product(x: Tensor, packed: Packed) -> Tensor:
    """`x @ weight.T` in float32, without gradients. x (…, in) float32 → (…, out)."""
    return torch.ops.quantized.linear_dynamic_fp16(x, packed.matrix).mul_(packed.factor)
