"""What `hf://org/name[@revision][/folder][/file]` names, by the grammar that huggingface_hub uses."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import unquote

from intermodal.errors import SourceError
from intermodal.sources.base import check_file_name

_NAME = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]{0,94}[A-Za-z0-9_])?")
_OTHER_KINDS = ("datasets", "spaces", "buckets", "kernels")
# Revisions with a slash that the Hub makes itself; a branch with one is written with %2F.
_SPECIAL = re.compile(r"(refs/(?:pr/\d+|convert/[\w.-]+))(?:/(.*))?")
_REVISION = re.compile(r"[\w.+~#/-]+")


@dataclass(frozen=True)
class HubLocation:
    """A place on the Hub.

    Attributes:
        repo_id: `org/name`.
        revision: branch, tag or commit, or None for the default branch.
        path: a folder or file in the repository, or "".
    """

    repo_id: str
    revision: str | None
    path: str

    @classmethod
    def parse(cls, uri: str) -> HubLocation:
        """Read a `hf://` URI.

        Raises:
            SourceError: it is malformed, or names something other than a model.
        """
        segments = uri.partition("://")[2].rstrip("/").split("/")
        if segments[0] == "models":
            segments = segments[1:]
        if segments[0] in _OTHER_KINDS:
            raise SourceError(f"{uri} names one of the Hub's {segments[0]}; only models can be loaded: hf://org/name")
        if len(segments) < 2:
            raise SourceError(
                f"{uri} names no repository. Write hf://org/name[@revision][/folder][/file], with the organisation, "
                "as the model's page shows it."
            )
        name, at, revision = segments[1].partition("@")
        rest = "/".join(segments[2:])
        if at:
            tail = f"{revision}/{rest}" if rest else revision
            special = _SPECIAL.fullmatch(tail)
            revision, rest = (special[1], special[2] or "") if special else (unquote(revision), rest)
            check_revision(revision, uri)
        if not (_NAME.fullmatch(segments[0]) and _NAME.fullmatch(name)) or "--" in name or ".." in name:
            raise SourceError(f"{uri}: {segments[0]}/{name} is no name that a repository on the Hub can have.")
        return cls(f"{segments[0]}/{name}", revision if at else None, check_file_name(rest, uri) if rest else "")


def check_revision(revision: str, uri: str) -> str:
    """Return a revision if git could have one of that name; it becomes part of a path in the cache.

    Raises:
        SourceError: it is empty, or has characters or dots that lead elsewhere.
    """
    if not _REVISION.fullmatch(revision) or ".." in revision or revision.startswith("/") or "//" in revision:
        raise SourceError(f"{uri}: {revision!r} is no revision. Give a branch, a tag, a commit, or refs/pr/N.")
    return revision
