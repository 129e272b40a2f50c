"""Repositories on the Hugging Face Hub: one commit for all files, and only the files that are needed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from intermodal.errors import SourceError
from intermodal.sources.base import Access, Repository, Source, at_most, check_file_name
from intermodal.sources.hub_client import HubClient, Listing
from intermodal.sources.hub_download import download_all
from intermodal.sources.hub_uri import HubLocation, check_revision


class HubRepository(Repository):
    """A repository at one commit, or one folder of it.

    Args:
        client: how it is reached.
        listing: commit and files, as the Hub has them.
        folder: the folder that file names are relative to, with a slash at its end, or "".
        selected: the file that the URI named, relative to it.
    """

    def __init__(self, client: HubClient, listing: Listing, folder: str = "", selected: str | None = None) -> None:
        self.uri = client.uri
        self.revision = listing.commit
        self.selected = selected
        self.note = listing.note
        self._client, self._commit, self._folder = client, listing.commit, folder
        self._files = {
            name.removeprefix(folder): size for name, size in listing.files.items() if name.startswith(folder)
        }
        self._fetched: set[str] = set()

    def files(self) -> Mapping[str, int | None]:
        """Name and size of every file at this commit; when offline, of those that are cached."""
        return self._files

    def fetch(self, names: Iterable[str]) -> None:
        """Download what is not cached, up to eight files at once, each with huggingface_hub's progress bar.

        Raises:
            SourceError: a file is missing, gated, or the transfer failed; the message says what to do.
        """
        names = list(dict.fromkeys(names))
        for name in names:
            self._check(name)
        missing = [name for name in names if self._cached(name) is None]
        if missing and self._client.offline:
            raise SourceError(
                f"{self.uri}: not in the cache: {at_most(missing)} (commit {self._commit[:12]}). local_files_only or "
                "HF_HUB_OFFLINE forbids the network; load once with it."
            )
        if missing:
            download_all(missing, self._download)

    def local_path(self, name: str) -> Path:
        """Path of a file in the cache; downloads it first if it is not there."""
        self.fetch([name])
        path = self._cached(name)
        if path is None:
            raise SourceError(
                f"{self.uri}: {name} came with another size than the Hub lists ({self._files[name]} bytes). Load again "
                "with force_download=True."
            )
        return path

    def read_range(self, name: str, start: int, stop: int) -> bytes:
        """Bytes `start` to `stop`: from the cache if the file is there, else by a range request that stores nothing."""
        size = self._check(name)
        stop = stop if size is None else min(stop, size)
        if start >= stop:
            return b""
        path = self._cached(name)
        if path is None and self._client.offline:
            path = self.local_path(name)
        if path is None:
            data = self._client.read_range(self._commit, self._folder + name, start, stop)
        else:
            with path.open("rb") as file:
                file.seek(start)
                data = file.read(stop - start)
        if size is not None and len(data) != stop - start:
            raise SourceError(f"{self.uri}: {name} ended before its {size} bytes while it was read. Try again.")
        return data

    def _check(self, name: str) -> int | None:
        """Size of a file, once it is known that there is one of that name."""
        check_file_name(name, self.uri)
        if name not in self._files:
            note = f" ({self.note})" if self.note else ""
            raise SourceError(f"{self.uri} has no file {name!r}; it holds: {at_most(self._files)}{note}.")
        return self._files[name]

    def _cached(self, name: str) -> Path | None:
        if self._client.access.force_download and name not in self._fetched:
            return None
        return self._client.cached(self._commit, self._folder + name, self._files[name])

    def _download(self, name: str, bar: type) -> None:
        # Also forced: a cached file of another size than the Hub lists, which the client would take as it is.
        whole = self._client.cached(self._commit, self._folder + name, self._files[name])
        present = self._client.cached(self._commit, self._folder + name, None)
        force = self._client.access.force_download or (present is not None and whole is None)
        self._client.download(self._commit, self._folder + name, bar, force)
        self._fetched.add(name)


class HubSource(Source):
    """`hf://org/name[@revision][/folder][/file]`."""

    scheme = "hf"

    def open(self, uri: str, access: Access) -> Repository:
        """Open a repository; its revision is resolved to a commit here, once.

        Raises:
            SourceError: it does not exist, is private, gated, out of reach and not cached; or the URI and `access`
                name different revisions.
        """
        location = HubLocation.parse(uri)
        if access.revision is not None:
            check_revision(access.revision, uri)
            if location.revision not in (None, access.revision):
                raise SourceError(f"{uri} names one revision, and revision={access.revision!r} another.")
        client = HubClient(uri, location.repo_id, access)
        listing = client.listing(access.revision or location.revision)
        path = location.path
        if access.subfolder:
            folder = check_file_name(access.subfolder.strip("/"), uri)
            path = f"{path}/{folder}" if path else folder
        return _at(client, listing, path)


def _at(client: HubClient, listing: Listing, path: str) -> HubRepository:
    """The repository at a folder or a file of it."""
    if not path:
        return HubRepository(client, listing)
    if path in listing.files:
        folder, slash, name = path.rpartition("/")
        return HubRepository(client, listing, folder + slash, selected=name)
    if any(name.startswith(path + "/") for name in listing.files):
        return HubRepository(client, listing, path + "/")
    note = f" ({listing.note})" if listing.note else ""
    raise SourceError(
        f"{client.uri}: {client.repo_id} has no file or folder {path!r}{note}; it holds: {at_most(listing.files)}."
    )
