"""Fills a load report from what was examined and built."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from intermodal.adapters.checkpoint import AdaptedCheckpoint
from intermodal.dtypes import numpy_dtype
from intermodal.layers.storage import device_kind
from intermodal.weights.plan import plan_bytes
from intermodal.weights.report import LoadReport

if TYPE_CHECKING:
    from intermodal.checkpoints.base import Checkpoint
    from intermodal.examination import Examined
    from intermodal.tasks.base import TaskModel


def describe(model: TaskModel, examined: Examined, dtype: str, reason: str, seconds: float) -> LoadReport:
    """The report of a model that was just built from an examined checkpoint."""
    import keras

    from intermodal import __version__

    checkpoint, plan = examined.checkpoint, examined.plan
    parameters, stored = plan_bytes(plan)
    raw = examined.config.raw
    return LoadReport(
        uri=examined.uri,
        revision=checkpoint.repository.revision,
        family=examined.family.name,
        plugin=examined.owner.plugin.name,
        plugin_version=examined.owner.plugin.version,
        format=checkpoint.format,
        dialect=checkpoint.dialect,
        task=examined.task,
        architecture=(raw.get("architectures") or [None])[0],
        backend=keras.backend.backend(),
        device=device_kind(),
        storage=dtype if dtype != "auto" else f"auto ({model.quantization or model.dtype_policy.variable_dtype})",
        storage_reason=reason,
        compute=model.compute_dtype,
        intermodal_version=__version__,
        prefix=plan.prefix,
        files=sorted({info.file for info in checkpoint.tensors.values()}),
        parameters=parameters,
        stored_bytes=stored,
        bytes=sum(_nbytes(variable) for part in model.parts() for variable in part.by_name.values()),
        seconds=seconds,
        loaded={name: [_source(piece) for piece in pieces] for name, pieces in plan.pieces.items()},
        tied=dict(plan.tied),
        ignored=dict(plan.ignored),
        new=list(plan.new),
        mismatched={name: [list(own), list(asked)] for name, (own, asked) in plan.mismatched.items()},
        left_out=list(plan.left_out),
        adapter=_adapter(checkpoint),
        config=examined.config_report.to_json(),
        generation=model.generation_settings.accounting.to_json() if model.generation_settings else {},
        warnings=[*examined.warnings, *examined.config_report.lines()],
    )


def _adapter(checkpoint: Checkpoint) -> dict[str, Any]:
    if not isinstance(checkpoint, AdaptedCheckpoint):
        return {}
    repository = checkpoint.adapter_repository
    return {
        "uri": repository.uri,
        "revision": repository.revision,
        "base": checkpoint.repository.uri,
        "merged": list(checkpoint.merged),
    }


def _source(piece: Any) -> dict[str, Any]:
    entry = {"tensor": piece.source.name, "file": piece.source.file, "stored": piece.source.stored}
    if piece.alias.part is not None:
        entry["part"] = [piece.alias.part.axis, piece.alias.part.start, piece.alias.part.size]
    transform = type(piece.alias.transform).__name__
    return entry if transform == "Identity" else {**entry, "transform": transform}


def _nbytes(variable: Any) -> int:
    return math.prod(variable.shape) * numpy_dtype(str(variable.dtype)).itemsize
