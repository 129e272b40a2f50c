"""A repository: the files of one checkpoint at one revision, wherever they are."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Access:
    """How remote files may be fetched. Sources that are local take no notice of it."""

    revision: str | None = None
    token: str | bool | None = None
    cache_dir: str | Path | None = None
    local_files_only: bool = False
    force_download: bool = False
    subfolder: str | None = None


class Repository(ABC):
    """The files of one checkpoint. File names are relative, with forward slashes, and never leave the folder.

    Attributes:
        uri: what the user wrote; error messages name it.
        revision: the commit all files are read at, or None where there is none (a local folder).
        selected: the file the URI pointed at (`…/model.gguf`), or None when it named a folder.
    """

    uri: str
    revision: str | None = None
    selected: str | None = None

    @abstractmethod
    def files(self) -> Mapping[str, int | None]:
        """Name and size in bytes (None where unknown) of every file, without downloading any."""

    @abstractmethod
    def fetch(self, names: Iterable[str]) -> None:
        """Make the files available locally, in parallel and with a progress bar where that takes time."""

    @abstractmethod
    def local_path(self, name: str) -> Path:
        """Path of a file on this machine; fetches it first where it is remote."""

    @abstractmethod
    def read_range(self, name: str, start: int, stop: int) -> bytes:
        """Bytes `start` to `stop` of a file (fewer at its end), without downloading the rest of it."""

    def has(self, name: str) -> bool:
        """Whether the repository holds a file of this name."""
        return name in self.files()


class Source(ABC):
    """Opens repositories of one URI scheme (`hf`, `pkg`, a plain path)."""

    scheme: str

    @abstractmethod
    def open(self, uri: str, access: Access) -> Repository:
        """Open `uri`. Nothing but listings may be fetched yet.

        Raises:
            SourceError: it does not exist, is private, gated or unreachable; the message says what to do.
        """


JsonDict = dict[str, Any]
