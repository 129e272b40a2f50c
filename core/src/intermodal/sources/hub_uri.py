"""What `hf://org/name[@revision][/folder][/file]` names, by the grammar that huggingface_hub uses.

Repositories of the Hub's first years had one word for a name (`gpt2`). The Hub leads from it to the place
that they have moved to, so a word alone, which no path can follow, is a name too.
"""

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
        repo_id: `org/name`, or a name of one word.
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
        owner = segments[:-1][:1]  # none where there is one segment alone
        name, at, revision = segments[len(owner)].partition("@")
        rest = "/".join(segments[len(owner) + 1 :])
        if at:
            tail = f"{revision}/{rest}" if rest else revision
            special = _SPECIAL.fullmatch(tail)
            revision, rest = (special[1], special[2] or "") if special else (unquote(revision), rest)
            check_revision(revision, uri)
        repo_id = "/".join([*owner, name])
        if not all(_NAME.fullmatch(part) for part in (*owner, name)) or "--" in name or ".." in name:
            raise SourceError(
                f"{uri}: {repo_id!r} is no name that a repository on the Hub can have. Write "
                "hf://org/name[@revision][/folder][/file], as the model's page shows it."
            )
        return cls(repo_id, revision if at else None, check_file_name(rest, uri) if rest else "")


def check_revision(revision: str, uri: str) -> str:
    """Return a revision if git could have one of that name; it becomes part of a path in the cache.

    Raises:
        SourceError: it is empty, or has characters or dots that lead elsewhere.
    """
    if not _REVISION.fullmatch(revision) or ".." in revision or revision.startswith("/") or "//" in revision:
        raise SourceError(f"{uri}: {revision!r} is no revision. Give a branch, a tag, a commit, or refs/pr/N.")
    return revision
