"""The load report: what went where, from which file at which revision, and what was left out and why."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import Any

from intermodal.weights.map import Prefix

_SHOWN = 8  # names of new variables in the text; the data has all


@dataclass
class LoadReport:
    """On every loaded model as `model.report`. All of it is data: `to_json()` is kept with exported weights.

    Attributes:
        uri: what was asked for. `revision`: the commit it was read at, where there is one.
        family: name of the family; `plugin`, `plugin_version`: who provided it.
        format, dialect: of the checkpoint. `files`: weight files that were read.
        task: the task of the model. `architecture`: what config.json calls it.
        backend, device: where it was put. `storage`, `compute`: dtypes (storage "auto": what the rule chose).
        storage_reason: a sentence that says why.
        parameters: number of them. `stored_bytes`: read from files; `bytes`: held in memory.
        seconds: building and reading, imports excluded.
        prefix: what backbone names began with.
        loaded: variable → the tensors it came from, with dtypes.
        tied: weight → the variable it shares.
        ignored: tensor → why it was not loaded.
        left_out: weights that the checkpoint lacks and the model is made without.
        new: variables that were initialised, because the checkpoint holds another task or another shape.
        mismatched: tensor → its shape and the one that the config says, where that was asked to be ignored.
        adapter: of a LoRA adapter that was loaded: its `uri` and `revision`, the model that it is on as `base`, and
            under `merged` the tensors that it is part of already.
        config: accounting of config.json: consumed, inert, foreign.
        generation: accounting of generation_config.json.
        warnings: what the user should know, one sentence each.
    """

    uri: str
    revision: str | None
    family: str
    plugin: str
    plugin_version: str
    format: str
    dialect: str
    task: str
    architecture: str | None
    backend: str
    device: str
    storage: str
    compute: str
    intermodal_version: str
    prefix: Prefix = ""
    files: list[str] = field(default_factory=list)
    parameters: int = 0
    stored_bytes: int = 0
    bytes: int = 0
    seconds: float = 0.0
    loaded: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    tied: dict[str, str] = field(default_factory=dict)
    ignored: dict[str, str] = field(default_factory=dict)
    new: list[str] = field(default_factory=list)
    mismatched: dict[str, list[list[int]]] = field(default_factory=dict)
    left_out: list[str] = field(default_factory=list)
    adapter: dict[str, Any] = field(default_factory=dict)
    config: dict[str, Any] = field(default_factory=dict)
    generation: dict[str, Any] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    storage_reason: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Everything, as plain data."""
        return asdict(self)

    def to_json(self) -> str:
        """Everything, as JSON."""
        return json.dumps(self.to_dict(), indent=2)

    def __str__(self) -> str:
        """A few lines for a person."""
        at = f" at {self.revision[:12]}" if self.revision else ""
        lines = [
            f"{self.uri}{at}: {self.family} ({self.plugin} {self.plugin_version}), {self.task}",
            f"{self.parameters / 1e6:,.1f} M parameters, {self.bytes / 1e6:,.0f} MB on {self.backend} {self.device}, "
            f"stored in {self.storage}, computed in {self.compute}, {self.seconds:.1f} s",
        ]
        if self.new:
            more = f" and {len(self.new) - _SHOWN} more" if len(self.new) > _SHOWN else ""
            lines.append(f"NEW, not from the checkpoint and in need of training: {', '.join(self.new[:_SHOWN])}{more}")
        if self.left_out:
            lines.append(f"Not in the checkpoint, and not in the model: {', '.join(self.left_out)}")
        if self.ignored:
            reasons = sorted(set(self.ignored.values()))
            lines.append(f"{len(self.ignored)} tensors ignored: {'; '.join(reasons)}")
        return "\n".join([*lines, *self.warnings])
