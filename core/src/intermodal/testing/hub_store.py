"""What the loopback hub holds: repositories with branches, commits and files."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

_LFS_SUFFIXES = (".safetensors", ".gguf", ".bin", ".pt", ".h5", ".model")
_CHUNK = 1 << 20


@dataclass(frozen=True)
class Blob:
    """One file's content: bytes, or a file on disk that is read when it is asked for and must not change."""

    content: bytes | Path

    @property
    def size(self) -> int:
        """Its bytes."""
        return len(self.content) if isinstance(self.content, bytes) else self.content.stat().st_size

    def chunks(self, start: int, stop: int) -> Iterator[bytes]:
        """The bytes from `start` to `stop`, a megabyte at a time."""
        if isinstance(self.content, bytes):
            yield self.content[start:stop]
            return
        with self.content.open("rb") as file:
            file.seek(start)
            while start < stop and (chunk := file.read(min(_CHUNK, stop - start))):
                start += len(chunk)
                yield chunk

    @functools.cached_property
    def sha256(self) -> str:
        """What the Hub names a large file by."""
        return self._hash(hashlib.sha256())

    @functools.cached_property
    def git_oid(self) -> str:
        """What git names the file by."""
        return self._hash(hashlib.sha1(b"blob %d\0" % self.size))

    def _hash(self, digest: hashlib._Hash) -> str:
        for chunk in self.chunks(0, self.size):
            digest.update(chunk)
        return digest.hexdigest()


@dataclass
class HubRepo:
    """A repository of the loopback hub.

    Attributes:
        repo_id: `org/name`.
        private: only the hub's token sees it.
        gated: anyone sees its listing, but files go only to tokens in `accepted`.
        accepted: the tokens whose owner accepted the terms.
        commits: commit → its files.
        refs: branch or tag → commit.
    """

    repo_id: str
    private: bool = False
    gated: bool = False
    accepted: set[str] = field(default_factory=set)
    commits: dict[str, dict[str, Blob]] = field(default_factory=dict)
    refs: dict[str, str] = field(default_factory=dict)

    def commit(self, files: Mapping[str, Blob], branch: str = "main") -> str:
        """Make a commit of exactly these files and move the branch to it; the old commits stay."""
        seed = f"{self.repo_id} {len(self.commits)} {sorted(files)}"
        commit = hashlib.sha1(seed.encode()).hexdigest()
        self.commits[commit] = dict(files)
        self.refs[branch] = commit
        return commit

    def resolve(self, revision: str) -> str | None:
        """The commit of a branch, tag or commit."""
        return revision if revision in self.commits else self.refs.get(revision)

    def etag(self, commit: str, path: str) -> str:
        """What a file is named by in the client's cache."""
        blob = self.commits[commit][path]
        return blob.sha256 if is_large(path) else blob.git_oid


def is_large(path: str) -> bool:
    """Whether the Hub would keep the file outside of git."""
    return path.endswith(_LFS_SUFFIXES)


def folder_blobs(folder: Path) -> dict[str, Blob]:
    """The files below a folder, by their path in it."""
    return {path.relative_to(folder).as_posix(): Blob(path) for path in sorted(folder.rglob("*")) if path.is_file()}
