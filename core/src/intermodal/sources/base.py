"""A repository: the files of one checkpoint at one revision, wherever they are."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from intermodal.errors import SourceError

JsonDict = dict[str, Any]


@dataclass(frozen=True)
class Access:
    """How remote files may be fetched. Sources that are local take no notice of it, except for `subfolder`.

    Attributes:
        revision: branch, tag or commit; an `@revision` in the URI says the same.
        token: an access token; True demands the saved one, False sends none, None sends the saved one if there is one.
        cache_dir: where downloads are kept; None is the Hub client's own cache.
        local_files_only: use what is cached and ask the network nothing.
        force_download: fetch files again that are cached.
        subfolder: the folder inside the repository that holds the checkpoint.
    """

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
        note: what errors about missing files should add ("only cached files are seen"), or "".
    """

    uri: str
    revision: str | None = None
    selected: str | None = None
    note: str = ""

    @abstractmethod
    def files(self) -> Mapping[str, int | None]:
        """Name and size in bytes (None where unknown) of every file, without downloading any."""

    @abstractmethod
    def fetch(self, names: Iterable[str]) -> None:
        """Make the files available locally, in parallel and with a progress bar where that takes time.

        Raises:
            SourceError: one is missing, or cannot be fetched. What had been fetched completely stays.
        """

    @abstractmethod
    def local_path(self, name: str) -> Path:
        """Path of a file on this machine; fetches it first where it is remote.

        Raises:
            SourceError: it is missing, its name leaves the folder, or it cannot be fetched.
        """

    @abstractmethod
    def read_range(self, name: str, start: int, stop: int) -> bytes:
        """Bytes `start` to `stop` of a file (fewer at its end), without downloading the rest of it.

        Raises:
            SourceError: as `local_path` does.
        """

    def has(self, name: str) -> bool:
        """Whether the repository holds a file of this name."""
        return name in self.files()

    def read_small(self, name: str, limit: int) -> bytes:
        """A whole small file (config.json and its like); it is kept where downloads are kept.

        Args:
            name: the file.
            limit: bytes it may have at most; the size is checked before anything is read.

        Raises:
            SourceError: it is missing, larger, or cannot be read.
        """
        size = self.files().get(name)
        if size is None or size <= limit:
            path = self.local_path(name)
            try:
                with path.open("rb") as file:
                    data = file.read(limit + 1)
            except OSError as error:
                raise SourceError(f"{name} of {self.uri} cannot be read: {error}") from error
            if len(data) <= limit:
                return data
            size = len(data)
        raise SourceError(f"{name} of {self.uri} has {size} bytes or more, expected at most {limit}: it is not read.")


class Source(ABC):
    """Opens repositories of one URI scheme (`hf`, `pkg`; `file` for a plain path)."""

    scheme: str

    @abstractmethod
    def open(self, uri: str, access: Access) -> Repository:
        """Open `uri`. Nothing but listings may be fetched yet.

        Raises:
            SourceError: it does not exist, is private, gated or unreachable; the message says what to do.
        """


def check_file_name(name: str, uri: str) -> str:
    r"""Return a file name of a repository if it is plain: relative, `/` between its parts, and staying in the folder.

    Args:
        name: as an index, a config or a URI spells it.
        uri: the repository, for the message.

    Raises:
        SourceError: it is empty or absolute, or has a `..`, a backslash, a drive letter or a NUL.
    """
    parts = name.split("/")
    plain = all(part not in ("", ".", "..") for part in parts) and not any(c in name for c in "\\\0")
    if not plain or (len(parts[0]) > 1 and parts[0][1] == ":"):
        raise SourceError(
            f"{uri}: the file name {name!r} is refused. Names must be relative, like 'model.safetensors' or "
            "'folder/config.json', and never lead out of the repository."
        )
    return name


def at_most(names: Iterable[str], shown: int = 20) -> str:
    """File names for an error message: the first few, and how many more there are."""
    listed = sorted(names)
    if not listed:
        return "no files"
    more = f" … and {len(listed) - shown} more" if len(listed) > shown else ""
    return ", ".join(listed[:shown]) + more
