"""Folders and files on this machine."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from functools import cached_property
from pathlib import Path

from intermodal.errors import SourceError
from intermodal.sources.base import Access, Repository, Source, at_most, check_file_name

_DEPTH = 3  # folders below the root that are listed: a home folder named by mistake must not be walked to its end
_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*(@[\w./-]+)?")


class LocalRepository(Repository):
    """Files below a folder. Links that lead out of it are refused, except those into the Hub client's cache.

    Args:
        root: the folder.
        uri: what the user wrote.
        selected: the file that the URI pointed at.
    """

    def __init__(self, root: Path, uri: str, selected: str | None = None) -> None:
        self.root = root
        self.uri = uri
        self.selected = selected

    @cached_property
    def _listing(self) -> dict[str, int | None]:
        found: dict[str, int | None] = {}
        # Beside a file that was named nothing but its neighbours can matter.
        _list_folder(self.root, "", 0 if self.selected else _DEPTH, found)
        return found

    def files(self) -> Mapping[str, int | None]:
        """Name and size of every file, hidden folders and those deeper than three levels left out."""
        return self._listing

    def has(self, name: str) -> bool:
        """Whether the folder holds a file of this name, however deep."""
        return (self.root / check_file_name(name, self.uri)).is_file()

    def fetch(self, names: Iterable[str]) -> None:
        """Check that the files are there."""
        for name in names:
            self.local_path(name)

    def local_path(self, name: str) -> Path:
        """Path of a file; links inside the folder and into the Hub client's cache are followed when it is opened."""
        path = self.root / check_file_name(name, self.uri)
        if not path.is_file():
            raise SourceError(f"{self.uri} has no file {name!r}; it holds: {at_most(self.files())}.")
        if name != self.selected:  # a link that the user names is the user's own choice
            check_links(self.root, path)
        return path

    def read_range(self, name: str, start: int, stop: int) -> bytes:
        """Bytes `start` to `stop` of a file."""
        path = self.local_path(name)
        try:
            with path.open("rb") as file:
                file.seek(start)
                return file.read(max(0, stop - start))
        except OSError as error:
            raise SourceError(f"{path} cannot be read: {error}") from error


class LocalSource(Source):
    """A path: a folder, or one file in it."""

    scheme = "file"

    def open(self, uri: str, access: Access) -> Repository:
        """Open a folder, or the folder around a file with that file selected.

        Args:
            uri: a path, with `~` if one likes; or `file:///path`.
            access: only `subfolder` matters.
        """
        from intermodal.sources import parse_uri

        _, rest = parse_uri(uri)
        if not rest or "\0" in rest:
            raise SourceError(f"{uri!r} is no path. Give a folder, a file, or a URI like hf://org/name.")
        path = Path(rest).expanduser()
        if not path.exists():
            raise SourceError(_missing(uri, rest, path))
        if access.subfolder:
            path = path / check_file_name(access.subfolder.strip("/"), uri)
            if not path.is_dir():
                raise SourceError(f"{uri} has no folder {access.subfolder!r}.")
        if path.is_file():
            # What the user names may be a link: the files beside it are those beside its target only in a Hub cache,
            # where the target has lost its name, so the link's own folder is the one that counts.
            return LocalRepository(path.absolute().parent, uri, selected=path.name)
        if not path.is_dir():
            raise SourceError(f"{uri} is neither a folder nor a file.")
        return LocalRepository(path.absolute(), uri)


def _missing(uri: str, rest: str, path: Path) -> str:
    if _HUB_NAME.fullmatch(rest):
        return f"There is no local folder {rest!r}. For the repository on the Hugging Face Hub write: hf://{rest}"
    there = path.absolute()
    while not there.exists():
        there = there.parent
    return f"{uri} does not exist; {there} is the last part of the path that does. Check the spelling."


def _list_folder(folder: Path, prefix: str, depth: int, found: dict[str, int | None]) -> None:
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError as error:
        if prefix:
            return
        raise SourceError(f"The folder {folder} cannot be read: {error}") from error
    for entry in entries:
        if entry.is_file():
            found[prefix + entry.name] = entry.stat().st_size
        elif depth and entry.is_dir(follow_symlinks=False) and not entry.name.startswith("."):
            _list_folder(folder / entry.name, f"{prefix}{entry.name}/", depth - 1, found)


def check_links(root: Path, path: Path) -> None:
    """Refuse a link out of the folder: an unpacked archive or clone may hold one to any file of this machine.

    Raises:
        SourceError: `path` leads out of `root`, and not into the store of the Hub cache that `root` is a snapshot of.
    """
    target = path.resolve()
    home = root.resolve()
    if target.is_relative_to(home):
        return
    # The Hub client keeps models--org--name/snapshots/<commit>/[folder/]file -> …/blobs/<hash>, and may share blobs
    # between repositories in <cache>/blobs.
    for folder in (home, *home.parents):
        if folder.parent.name == "snapshots":
            store = folder.parent.parent
            if target.is_relative_to(store / "blobs") or target.is_relative_to(store.parent / "blobs"):
                return
    raise SourceError(
        f"{path} is a link to {target}, outside of {root}: it is not followed. Replace the link by the file that it "
        "points at, or name that file itself."
    )
