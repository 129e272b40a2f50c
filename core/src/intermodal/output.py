"""Outputs that are whole or not there: written beside their place, and renamed into it at the end."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from intermodal.errors import IntermodalError


@contextmanager
def replaced_folder(folder: str | Path) -> Iterator[Path]:
    """A temporary folder beside `folder`; its files replace those of the same name when the block ends well.

    On an error or Ctrl-C it is removed, and `folder` is as it was. An existing folder keeps its other files, except
    weight files that the new ones would contradict.

    Raises:
        IntermodalError: `folder` is a file, or cannot be written beside.
    """
    target = Path(folder)
    if target.exists() and not target.is_dir():
        raise IntermodalError(f"{target} is a file; give the path of a folder to write into.")
    target.parent.mkdir(parents=True, exist_ok=True)
    beside = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    try:
        yield beside
        os.chmod(beside, 0o755)
        if not target.exists():
            beside.rename(target)
            return
        _replace_files(beside, target)
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def _replace_files(source: Path, target: Path) -> None:
    new = {path.name for path in source.iterdir()}
    for path in sorted(source.iterdir()):
        if path.is_dir():
            shutil.rmtree(target / path.name, ignore_errors=True)
        os.replace(path, target / path.name)
    for path in target.glob("model*.safetensors*"):
        if path.name not in new:
            path.unlink()
