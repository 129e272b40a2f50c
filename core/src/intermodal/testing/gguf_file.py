"""Writes tiny GGUF files with the real `gguf` package, from a checkpoint and its weight map's aliases."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from intermodal.examination import Examined

DIALECT = "gguf"


def write_gguf(
    path: Path, architecture: str, metadata: Mapping[str, Any], tensors: Mapping[str, np.ndarray], kind: str = "F32"
) -> Path:
    """Write a file as llama.cpp's converter does.

    Args:
        path: of the file.
        architecture: `general.architecture`.
        metadata: every other key, in full. Integers are stored as uint32, floats as float32; lists hold one kind.
        tensors: name → float32 values.
        kind: what matrices are stored as, among the types that the package can make: `"Q8_0"`, `"Q4_1"`, ….
    """
    import gguf

    writer = gguf.GGUFWriter(path, architecture)
    add = {
        bool: writer.add_bool,
        int: writer.add_uint32,
        float: writer.add_float32,
        str: writer.add_string,
        list: writer.add_array,
    }
    for key, value in metadata.items():
        add[type(value)](key, value)
    for name, values in tensors.items():
        stored = gguf.GGMLQuantizationType[kind if values.ndim == 2 else "F32"]
        writer.add_tensor(
            name, gguf.quants.quantize(np.ascontiguousarray(values, np.float32), stored), raw_dtype=stored
        )
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def gguf_tensors(examined: Examined) -> dict[str, np.ndarray]:
    """A checkpoint's weights under the names, and with the values, that the map's aliases say GGUF has.

    Weights without an alias are left out: llama.cpp's converter drops some, and reading the file tells whether they
    are missed.
    """
    from intermodal.weights.reading import read_piece

    groups: dict[str, list[tuple[int, int, np.ndarray]]] = {}
    for pieces in examined.plan.pieces.values():
        for piece in pieces:
            alias = piece.weight.aliases.get(DIALECT)
            if alias is None:
                continue
            values = np.empty(piece.weight.shape, np.float32)
            read_piece(examined.checkpoint, piece, values)
            start, axis = (alias.part.start, alias.part.axis) if alias.part else (0, 0)
            groups.setdefault(alias.name, []).append((start, axis, alias.transform.export(values)))
    return {
        name: np.concatenate([values for _, _, values in sorted(parts, key=lambda part: part[0])], axis=parts[0][1])
        for name, parts in groups.items()
    }
