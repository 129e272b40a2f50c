"""What this package adds to intermodal: the reader of GGUF checkpoints."""

from __future__ import annotations

from typing import TYPE_CHECKING

from intermodal.api import hookimpl

if TYPE_CHECKING:
    from intermodal.api import CheckpointReader


@hookimpl
def intermodal_checkpoint_readers() -> list[CheckpointReader]:
    """Give the reader of GGUF files, single or split."""
    from intermodal_gguf.reader import GGUFReader

    return [GGUFReader()]
