"""One repository through huggingface_hub: its listing at one commit, what is cached of it, downloads, byte ranges."""

from __future__ import annotations

import contextlib
import os
import re
import uuid
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from intermodal.errors import SourceError
from intermodal.sources.base import Access, check_file_name
from intermodal.sources.hub_errors import explained, is_unreachable

_COMMIT = re.compile(r"[0-9a-f]{40}")
_SKIP_LIMIT = 10_000_000  # bytes read and thrown away when a server ignores the range it was asked for
_LIBRARY = "intermodal"


@dataclass(frozen=True)
class Listing:
    """The files of a repository at one commit.

    Attributes:
        commit: 40 hexadecimal digits.
        files: name → size in bytes, None where the Hub does not say.
        note: why files may be missing here that the repository has, or "".
    """

    commit: str
    files: dict[str, int | None]
    note: str = ""


class HubClient:
    """huggingface_hub with one set of settings. HF_ENDPOINT, HF_HUB_CACHE, HF_HOME and HF_HUB_OFFLINE are read now.

    Args:
        uri: what the user wrote, for messages.
        repo_id: `org/name`.
        access: token, cache and offline settings.
    """

    def __init__(self, uri: str, repo_id: str, access: Access) -> None:
        from huggingface_hub import constants

        self.uri, self.repo_id, self.access = uri, repo_id, access
        self.endpoint = (os.environ.get("HF_ENDPOINT") or "").rstrip("/") or None
        home = os.environ.get("HF_HOME")
        cache = access.cache_dir or os.environ.get("HF_HUB_CACHE") or (Path(home) / "hub" if home else None)
        self.cache_dir = Path(os.path.expandvars(cache or constants.HF_HUB_CACHE)).expanduser()
        variable = os.environ.get("HF_HUB_OFFLINE", "").upper() in constants.ENV_VARS_TRUE_VALUES
        self.offline = access.local_files_only or variable or constants.HF_HUB_OFFLINE
        if self.offline and access.force_download:
            raise SourceError(
                f"{uri}: force_download=True needs the network, which local_files_only or HF_HUB_OFFLINE forbids."
            )

    def listing(self, revision: str | None) -> Listing:
        """Resolve a revision to one commit, and list its files: one request to the Hub, or none when offline.

        Raises:
            SourceError: repository or revision do not exist or may not be read; or the Hub is out of reach and the
                cache holds nothing of them.
        """
        if self.offline:
            cached = self._cached_listing(revision, "offline, so only cached files are seen")
            if cached is None:
                raise SourceError(
                    f"{self.uri}: nothing of {self.repo_id} at revision {revision or 'main'!r} is cached in "
                    f"{self.cache_dir}, and local_files_only or HF_HUB_OFFLINE forbids the network. Load it once with "
                    f"the network, or run: hf download {self.repo_id}"
                )
            return cached
        try:
            return self._online_listing(revision)
        except SourceError as error:
            if not is_unreachable(error) or self.access.force_download:
                raise
            cached = self._cached_listing(revision, "the Hub could not be reached, so only cached files are seen")
            if cached is None:
                raise
            warnings.warn(
                f"The Hub could not be reached ({error.__cause__}); {self.uri} is loaded from the cache, at commit "
                f"{cached.commit[:12]}. Set HF_HUB_OFFLINE=1 to say so yourself.",
                UserWarning,
                stacklevel=2,
            )
            return cached

    def _online_listing(self, revision: str | None) -> Listing:
        from huggingface_hub import HfApi, constants

        api = HfApi(endpoint=self.endpoint, token=self.access.token, library_name=_LIBRARY)
        with self._explained(revision, "asking for its files"):
            info = api.model_info(
                self.repo_id, revision=revision, files_metadata=True, timeout=constants.HF_HUB_ETAG_TIMEOUT
            )
            commit = info.sha or ""
            if not _COMMIT.fullmatch(commit):
                raise ValueError(f"the answer has no commit (sha={info.sha!r}); does HF_ENDPOINT point to a Hub?")
            files = {file.rfilename: file.size for file in info.siblings or ()}
        self._remember(revision or constants.DEFAULT_REVISION, commit)
        return Listing(commit, {name: size for name, size in files.items() if self._is_plain(name)})

    def _cached_listing(self, revision: str | None, note: str) -> Listing | None:
        """The files that earlier loads left, of the commit that the revision was then."""
        from huggingface_hub import constants

        commit = revision or constants.DEFAULT_REVISION
        if not _COMMIT.fullmatch(commit):
            try:
                commit = (self._folder / "refs" / commit).read_text().strip()
            except OSError:
                return None
        snapshot = self._folder / "snapshots" / commit
        if not _COMMIT.fullmatch(commit) or not snapshot.is_dir():
            return None
        files = {
            (Path(folder) / name).relative_to(snapshot).as_posix(): (Path(folder) / name).stat().st_size
            for folder, _, names in os.walk(snapshot)
            for name in names
            if (Path(folder) / name).is_file()
        }
        return Listing(commit, {name: size for name, size in files.items() if self._is_plain(name)}, note)

    def cached(self, commit: str, name: str, size: int | None) -> Path | None:
        """Path of a file in the cache, if it is there as a whole."""
        from huggingface_hub import try_to_load_from_cache

        found = try_to_load_from_cache(self.repo_id, name, cache_dir=self.cache_dir, revision=commit)
        if not isinstance(found, str):
            return None
        path = Path(found)
        return path if size is None or path.stat().st_size == size else None

    def download(self, commit: str, name: str, bar: type[Any], force: bool) -> Path:
        """Fetch one file into the cache.

        Args:
            commit: which commit of it.
            name: the file.
            bar: class of its progress bar.
            force: fetch it although it is cached.
        """
        from huggingface_hub import hf_hub_download

        with self._explained(commit, f"fetching {name}"):
            path = hf_hub_download(
                self.repo_id,
                name,
                revision=commit,
                endpoint=self.endpoint,
                token=self.access.token,
                cache_dir=self.cache_dir,
                force_download=force,
                library_name=_LIBRARY,
                tqdm_class=bar,
            )
        return Path(path)

    def read_range(self, commit: str, name: str, start: int, stop: int) -> bytes:
        """Bytes `start` to `stop` of a file by a range request; nothing is written to the cache."""
        from huggingface_hub import constants, hf_hub_url
        from huggingface_hub.utils import build_hf_headers, hf_raise_for_status, http_stream_backoff

        url = hf_hub_url(self.repo_id, name, revision=commit, endpoint=self.endpoint)
        wanted = {"Range": f"bytes={start}-{stop - 1}", "Accept-Encoding": "identity"}
        headers = build_hf_headers(token=self.access.token, library_name=_LIBRARY, headers=wanted)
        with self._explained(commit, f"reading bytes {start} to {stop} of {name}"), contextlib.ExitStack() as stack:
            timeout = constants.HF_HUB_DOWNLOAD_TIMEOUT
            response = stack.enter_context(
                http_stream_backoff("GET", url, headers=headers, timeout=timeout, max_retries=2)
            )
            hf_raise_for_status(response)
            skip = 0 if response.status_code == 206 else start
            if skip > _SKIP_LIMIT:
                raise SourceError(f"{self.uri}: the server does not give parts of {name}; fetch it as a whole.")
            data = bytearray()
            for chunk in response.iter_bytes(1 << 16):
                data += chunk
                if len(data) >= skip + stop - start:
                    break
        return bytes(data[skip : skip + stop - start])

    @property
    def _folder(self) -> Path:
        return self.cache_dir / ("models--" + self.repo_id.replace("/", "--"))

    def _remember(self, revision: str, commit: str) -> None:
        """Note which commit a branch or tag was, where the client itself does; offline loads look it up there."""
        ref = self._folder / "refs" / revision
        if revision == commit:
            return
        with contextlib.suppress(OSError):  # a cache that cannot be written to is no reason to fail
            if ref.is_file() and ref.read_text() == commit:
                return
            ref.parent.mkdir(parents=True, exist_ok=True)
            beside = ref.with_name(f"{ref.name}.{uuid.uuid4().hex[:8]}.tmp")
            beside.write_text(commit)
            beside.replace(ref)

    def _is_plain(self, name: str) -> bool:
        with contextlib.suppress(SourceError):
            return bool(check_file_name(name, self.uri))
        return False

    def _explained(self, revision: str | None, what: str) -> contextlib.AbstractContextManager[None]:
        return explained(self.uri, self.repo_id, revision, self.endpoint, what)
