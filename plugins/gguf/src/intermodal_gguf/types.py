"""The storage types of GGUF: number, name, block size and what numpy dtype their values are read as."""

from dataclasses import dataclass
from types import MappingProxyType

K = 256
"""Values in a super-block of the K- and I-quants (ggml's QK_K)."""


@dataclass(frozen=True)
class StorageType:
    """How a tensor's values are packed.

    Attributes:
        name: ggml's own, `"Q4_K"`; it becomes `TensorInfo.stored`.
        block: values in one block; rows are whole blocks.
        size: bytes of one block.
        dtype: dtype of the values when read; `"float32"` for every block-quantised type.
    """

    name: str
    block: int
    size: int
    dtype: str = "float32"

    @property
    def packed(self) -> bool:
        """Whether values have to be computed from blocks, rather than being in the file as they are."""
        return self.block > 1


STORAGE_TYPES = MappingProxyType(
    {
        0: StorageType("F32", 1, 4),
        1: StorageType("F16", 1, 2, "float16"),
        2: StorageType("Q4_0", 32, 2 + 16),
        3: StorageType("Q4_1", 32, 4 + 16),
        6: StorageType("Q5_0", 32, 2 + 4 + 16),
        7: StorageType("Q5_1", 32, 4 + 4 + 16),
        8: StorageType("Q8_0", 32, 2 + 32),
        10: StorageType("Q2_K", K, 4 + K // 16 + K // 4),
        11: StorageType("Q3_K", K, 2 + 12 + K // 4 + K // 8),
        12: StorageType("Q4_K", K, 4 + 12 + K // 2),
        13: StorageType("Q5_K", K, 4 + 12 + K // 2 + K // 8),
        14: StorageType("Q6_K", K, 2 + K // 2 + K // 4 + K // 16),
        16: StorageType("IQ2_XXS", K, 2 + K // 4),
        17: StorageType("IQ2_XS", K, 2 + K // 4 + K // 32),
        18: StorageType("IQ3_XXS", K, 2 + K // 4 + K // 8),
        19: StorageType("IQ1_S", K, 2 + K // 8 + K // 16),
        20: StorageType("IQ4_NL", 32, 2 + 16),
        21: StorageType("IQ3_S", K, 2 + K // 4 + K // 8 + K // 32 + 4),
        22: StorageType("IQ2_S", K, 2 + K // 4 + K // 16),
        23: StorageType("IQ4_XS", K, 4 + K // 2 + K // 64),
        24: StorageType("I8", 1, 1, "int8"),
        25: StorageType("I16", 1, 2, "int16"),
        26: StorageType("I32", 1, 4, "int32"),
        27: StorageType("I64", 1, 8, "int64"),
        28: StorageType("F64", 1, 8, "float64"),
        29: StorageType("IQ1_M", K, K // 8 + K // 16 + K // 32),
        30: StorageType("BF16", 1, 2, "bfloat16"),
        34: StorageType("TQ1_0", K, 2 + 4 * 13),
        35: StorageType("TQ2_0", K, 2 + 64),
        39: StorageType("MXFP4", 32, 1 + 16),
        40: StorageType("NVFP4", 64, 4 + 32),
    }
)
"""Every type that can be read, by the number that files write (`enum ggml_type` of llama.cpp)."""

_REMOVED = "llama.cpp has removed this type; quantise the original model again with a current llama-quantize"
_INTERNAL = "llama.cpp keeps this type for intermediate results and writes no weights in it"
_TOO_NEW = "no decoder for this type has been released for Python yet; take another quantisation of the model"

UNREADABLE = MappingProxyType(
    {
        4: ("Q4_2", _REMOVED),
        5: ("Q4_3", _REMOVED),
        9: ("Q8_1", _INTERNAL),
        15: ("Q8_K", _INTERNAL),
        31: ("Q4_0_4_4", _REMOVED),
        32: ("Q4_0_4_8", _REMOVED),
        33: ("Q4_0_8_8", _REMOVED),
        36: ("IQ4_NL_4_4", _REMOVED),
        37: ("IQ4_NL_4_8", _REMOVED),
        38: ("IQ4_NL_8_8", _REMOVED),
        41: ("Q1_0", _TOO_NEW),
        42: ("Q2_0", _TOO_NEW),
    }
)
"""Types that are known but cannot be read: name and reason."""
