"""References kept on disk: what transformers computes for a variant is computed once, and read by every backend.

A reference is a folder: `checkpoint/` as transformers saves it, and `cases.npz` with inputs and outputs. Its name is a
hash of all that it depends on, so a change makes a new one and three processes share what is there.
"""

from __future__ import annotations

import functools
import hashlib
import json
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

KIT_VERSION = 1
"""Rises when the kit makes references in another way, so that kept ones are not taken for them."""

Arrays = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Case:
    """One call of a model: inputs by name, and transformers' outputs by name in float32."""

    inputs: dict[str, np.ndarray]
    outputs: dict[str, np.ndarray]


@dataclass(frozen=True)
class Reference:
    """A small random checkpoint, and what transformers computes from it.

    Attributes:
        architecture: transformers' class. `fields`: of its config, as they were given.
        folder: where it is kept.
    """

    architecture: str
    fields: dict[str, Any]
    folder: Path

    @property
    def checkpoint(self) -> Path:
        """The Hugging Face folder."""
        return self.folder / "checkpoint"

    @property
    def raw(self) -> dict[str, Any]:
        """The content of its config.json."""
        return json.loads((self.checkpoint / "config.json").read_text(encoding="utf-8"))

    def case(self, name: str) -> Case:
        """The inputs and outputs of one of the calls it was made with."""
        return _cases(self.folder)[name]


class References:
    """The references in a folder. What is not there yet is made by transformers.

    Args:
        folder: where to keep them; several processes may share it.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)

    def get(
        self,
        architecture: str,
        fields: Mapping[str, Any],
        inputs: Mapping[str, Arrays],
        *,
        dtype: str | None = None,
        shard_bytes: int | None = None,
    ) -> Reference:
        """The reference of an architecture with these config fields, called with each of `inputs`.

        Args:
            architecture: transformers' class, such as `"BloomForCausalLM"`.
            fields: of its config class, JSON types.
            inputs: name of a case → inputs of that call.
            dtype: what the checkpoint is stored in; it is computed in float32 from those values. None is float32.
            shard_bytes: save it in files of about this size.

        Raises:
            RuntimeError: it is not there, and transformers or torch is not installed, or refuses these fields.
        """
        options = {"dtype": dtype, "shard_bytes": shard_bytes}
        target = self.folder / f"{architecture}-{_key(architecture, fields, inputs, options)}"
        if not target.exists():
            self.folder.mkdir(parents=True, exist_ok=True)
            beside = Path(tempfile.mkdtemp(prefix=".making-", dir=self.folder))
            try:
                _make(beside, architecture, fields, inputs, **options)
                beside.rename(target)
            except OSError:
                if not target.exists():  # else another process was quicker, and made the same
                    raise
            finally:
                shutil.rmtree(beside, ignore_errors=True)
        return Reference(architecture, dict(fields), target)


def transformers_version() -> str:
    """The installed version of transformers, without importing it; `"none"` where there is none."""
    try:
        return metadata.version("transformers")
    except metadata.PackageNotFoundError:
        return "none"


def _key(architecture: str, fields: Mapping[str, Any], inputs: Mapping[str, Arrays], options: Mapping[str, Any]) -> str:
    about = [KIT_VERSION, transformers_version(), architecture, fields, options]
    digest = hashlib.sha256(json.dumps(about, sort_keys=True).encode())
    for case, arrays in sorted(inputs.items()):
        for name, values in sorted(arrays.items()):
            digest.update(f"{case}/{name}/{values.dtype}{values.shape}".encode() + values.tobytes())
    return digest.hexdigest()[:20]


def _make(
    folder: Path,
    architecture: str,
    fields: Mapping[str, Any],
    inputs: Mapping[str, Arrays],
    *,
    dtype: str | None,
    shard_bytes: int | None,
) -> None:
    from intermodal.testing.reference import make_reference, reference_outputs, save_reference

    try:
        model = make_reference(architecture, json.loads(json.dumps(fields)))
        save_reference(model, folder / "checkpoint", dtype=dtype, shard_bytes=shard_bytes)
    except ImportError as error:
        raise RuntimeError(
            f"The reference {architecture} has to be made, and needs transformers and torch: pip install transformers "
            "torch. Or give a folder where they were made before: pytest --intermodal-references=FOLDER."
        ) from error
    except Exception as error:
        raise RuntimeError(
            f"transformers cannot make {architecture} of {json.dumps(fields)}: {type(error).__name__}: {error}"
        ) from error
    if dtype is not None:  # values as stored, computed in float32; .float() would keep the rounding of buffers too
        model = type(model).from_pretrained(folder / "checkpoint", dtype="float32")
    arrays: dict[str, np.ndarray] = {}
    for case, given in inputs.items():
        arrays |= {f"{case}/inputs/{name}": np.asarray(values) for name, values in given.items()}
        outputs = reference_outputs(model, **given)
        arrays |= {f"{case}/outputs/{name}": values for name, values in outputs.items()}
    np.savez(folder / "cases.npz", allow_pickle=False, **arrays)


@functools.lru_cache(maxsize=64)
def _cases(folder: Path) -> dict[str, Case]:
    cases: dict[str, Case] = {}
    with np.load(folder / "cases.npz", allow_pickle=False) as stored:
        for entry in stored.files:
            case, kind, name = entry.split("/", 2)
            getattr(cases.setdefault(case, Case({}, {})), kind)[name] = stored[entry]
    return cases
