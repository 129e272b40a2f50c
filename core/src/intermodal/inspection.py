"""`inspect`: can this checkpoint be loaded, by what, and what will it take? Answered from headers alone."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from intermodal.dtypes import Storage, check_storage, default_storage, numpy_dtype
from intermodal.errors import BackendError, IntermodalError
from intermodal.sources.base import Access

if TYPE_CHECKING:
    from intermodal.checkpoints.base import Checkpoint
    from intermodal.examination import Examined


_KINDS = ("consumed", "inert", "foreign")  # what config keys are counted by


@dataclass
class Inspection:
    """What headers tell of a checkpoint.

    Attributes:
        uri, revision: what was looked at.
        loadable: whether `load` would accept it. `problem`: why not; it is the message `load` would raise.
        format, family_key: of the checkpoint. `family`, `plugin`: who reads it.
        task: what it would be loaded as. `architecture`: what config.json calls it.
        parameters: of the model. `stored_bytes`: of all tensors in the files.
        dtypes: how many tensors are stored as what.
        storage: what the weights would be stored in on a CPU, and why.
        model_bytes: what the weights take when loaded as asked. `peak_bytes`: the most that loading takes at once.
        files: weight files and the bytes of their tensors.
        ignored: tensor → why it would not be loaded. `config`: accounting of config.json.
        warnings: what the user should know.
    """

    uri: str
    revision: str | None = None
    loadable: bool = False
    problem: str | None = None
    format: str | None = None
    family_key: str | None = None
    family: str | None = None
    plugin: str | None = None
    task: str | None = None
    architecture: str | None = None
    parameters: int = 0
    stored_bytes: int = 0
    model_bytes: int = 0
    peak_bytes: int = 0
    dtypes: dict[str, int] = field(default_factory=dict)
    storage: str = ""
    files: dict[str, int] = field(default_factory=dict)
    ignored: dict[str, str] = field(default_factory=dict)
    config: dict[str, Any] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """Everything, as plain data."""
        return asdict(self)

    def rows(self) -> list[tuple[str, str]]:
        """Label and value of each line that a person wants to see."""
        stored = ", ".join(f"{count} {name}" for name, count in sorted(self.dtypes.items()))
        rows = [
            ("checkpoint", self.uri + (f" at {self.revision}" if self.revision else "")),
            ("loadable", "yes" if self.loadable else "no"),
            ("format", self.format or "unknown"),
            ("model type", self.family_key or "unknown"),
            ("family", f"{self.family} ({self.plugin})" if self.family else "none"),
            ("task", self.task or "unknown"),
            ("parameters", f"{self.parameters:,}"),
            ("tensors", stored or "none"),
            ("in files", f"{self.stored_bytes / 1e6:,.1f} MB in {len(self.files)} file(s)"),
            ("loaded", f"{self.model_bytes / 1e6:,.1f} MB, {self.peak_bytes / 1e6:,.1f} MB at the peak"),
            ("stored", self.storage or "unknown"),
            ("ignored", "; ".join(sorted(set(self.ignored.values()))) or "nothing"),
            (
                "config",
                ", ".join(f"{len(self.config[kind])} {kind}" for kind in _KINDS if self.config.get(kind)) or "nothing",
            ),
        ]
        return [*rows, *(("note", sentence) for sentence in self.warnings)]


def inspect(
    uri: str | Path,
    task: str | None = None,
    *,
    dtype: str = "auto",
    revision: str | None = None,
    token: str | bool | None = None,
    family: str | None = None,
    strict: bool = True,
    config: Mapping[str, Any] | None = None,
    subfolder: str | None = None,
    cache_dir: str | Path | None = None,
    local_files_only: bool = False,
    adapter: str | Path | None = None,
) -> Inspection:
    """Look at a checkpoint without reading its weights; of a remote one, only headers are fetched.

    Args are those of `load`. Keras is not imported.

    Returns:
        An `Inspection`. What `load` would refuse is told in `problem`, as long as the checkpoint itself can be opened.

    Raises:
        SourceError, CheckpointError: the files cannot be found or opened.
    """
    from intermodal.examination import examine, open_source

    check_storage(dtype)
    access = Access(revision, token, cache_dir, local_files_only, False, subfolder)
    checkpoint = open_source(str(uri), access, adapter=None if adapter is None else str(adapter))
    result = Inspection(str(uri), checkpoint.repository.revision, format=checkpoint.format)
    result.family_key = checkpoint.family_key
    _count(result, checkpoint)
    try:
        examined = examine(
            str(uri), task, access=access, family=family, strict=strict, config=config, checkpoint=checkpoint
        )
    except IntermodalError as error:
        result.problem = str(error)
        result.parameters = sum(math.prod(info.shape) for info in checkpoint.tensors.values())
        return result
    _count(result, examined.checkpoint)
    _fill(result, examined, dtype)
    return result


def _count(result: Inspection, checkpoint: Checkpoint) -> None:
    infos = checkpoint.tensors.values()
    result.stored_bytes = sum(info.nbytes for info in infos)
    result.dtypes = dict(Counter(info.stored for info in infos))
    result.files = {info.file: 0 for info in infos}
    for info in infos:
        result.files[info.file] += info.nbytes


def _fill(result: Inspection, examined: Examined, dtype: str) -> None:
    from intermodal.weights.plan import plan_bytes
    from intermodal.weights.reading import packing_of

    result.loadable = True
    result.family, result.plugin = examined.family.name, str(examined.owner.plugin)
    result.task = examined.task
    result.architecture = (examined.config.raw.get("architectures") or [None])[0]
    result.parameters = plan_bytes(examined.plan)[0]
    result.ignored = dict(examined.plan.ignored)
    result.config = examined.config_report.to_json()
    result.warnings = [*examined.warnings, *examined.config_report.lines()]
    storage = _storage(examined, dtype)
    result.storage = storage.reason
    sizes, scratch = [], 0
    for variable in examined.plan.variables:
        pieces = examined.plan.pieces.get(variable.name, ())
        own = pieces[0].source.dtype if pieces else "float32"
        kind = storage.dtype if storage.dtype != "auto" else own
        packing = packing_of(examined.checkpoint, variable, pieces) if storage.packed else None
        if packing is not None:
            sizes.append(packing.nbytes(variable.shape))
            continue
        sizes.append(math.prod(variable.shape) * numpy_dtype(kind).itemsize)
        if any(piece.source.dtype != kind for piece in pieces) and examined.checkpoint.format != "safetensors":
            scratch = max(scratch, math.prod(variable.shape) * numpy_dtype(own).itemsize)
    result.model_bytes = sum(sizes)
    result.peak_bytes = result.model_bytes + scratch


def _storage(examined: Examined, dtype: str) -> Storage:
    """What `load` would store the weights in on a CPU, as far as that can be told without loading a backend."""
    from intermodal.backend import resolve
    from intermodal.compiled import reads
    from intermodal.loading import asked_storage, stored_types

    if dtype != "auto":
        return asked_storage(dtype)
    try:
        kernels, blocks = reads(resolve(), load=False)
    except BackendError:
        kernels, blocks = False, False
    return default_storage("cpu", *stored_types(examined), kernels=kernels, blocks=blocks)
