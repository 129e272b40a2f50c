"""Where files come from: a path, `hf://org/name`, `pkg://package/file`, and what plugins add."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from intermodal.errors import SourceError

if TYPE_CHECKING:
    from intermodal.sources.base import Access, Repository, Source

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://(.*)", re.DOTALL)
_HUB_HOSTS = ("huggingface.co", "www.huggingface.co", "hf.co")


def parse_uri(uri: str | os.PathLike[str]) -> tuple[str, str]:
    """Split a URI into its scheme and the rest.

    Args:
        uri: `hf://org/name`, `pkg://package/file`, `file:///folder`, or a path.

    Returns:
        The scheme in lower case (`""` for a path, `"file"` for `file://`) and what follows `://` (for `file://` the
        path, with its percent signs decoded).

    Raises:
        SourceError: a `file://` URI that names another machine.
    """
    text = os.fspath(uri)
    match = _SCHEME.fullmatch(text)
    if match is None:
        return "", text
    scheme, rest = match[1].lower(), match[2]
    if scheme != "file":
        return scheme, rest
    host, slash, path = rest.partition("/")
    if host not in ("", "localhost") or not slash:
        raise SourceError(f"{text!r} names no file of this machine. Write file:///folder/file, or just the path.")
    path = unquote(path)
    return scheme, path if re.match(r"[A-Za-z]:", path) else "/" + path


def builtin_sources() -> list[Source]:
    """Core's own sources: paths (`file`), `hf` and `pkg`. None of them imports huggingface_hub before it is opened."""
    from intermodal.sources.hub import HubSource
    from intermodal.sources.local import LocalSource
    from intermodal.sources.package import PackageSource

    return [LocalSource(), HubSource(), PackageSource()]


def open_repository(
    uri: str | os.PathLike[str], access: Access, source_for: Callable[[str], Source] | None = None
) -> Repository:
    """Open what a URI names. Only listings are fetched.

    Args:
        uri: a path, `hf://org/name[@revision][/folder][/file]`, `pkg://package/file`, or a plugin's scheme.
        access: how remote files may be fetched.
        source_for: gives the source of a scheme that is not core's own, or raises a PluginError.

    Raises:
        SourceError: nobody knows the scheme, or the source cannot open it.
    """
    text = os.fspath(uri)
    scheme, rest = parse_uri(text)
    own = {source.scheme: source for source in builtin_sources()}
    source = own.get(scheme or "file")
    if source is None:
        if scheme in ("http", "https"):
            raise SourceError(_web_page(text, rest))
        if source_for is None:
            known = ", ".join(f"{name}://" for name in own)
            raise SourceError(f"{text!r} has the unknown scheme {scheme}://. Known are {known} and plain paths.")
        source = source_for(scheme)
    return source.open(text, access)


def _web_page(url: str, rest: str) -> str:
    """What to write instead of a page's address."""
    parts = urlsplit(f"//{rest}")
    segments = [segment for segment in unquote(parts.path).split("/") if segment]
    if parts.hostname not in _HUB_HOSTS or len(segments) < 2:
        return f"{url} is a web address, which is not loaded from. Download it, and give the path of the file."
    hub = "hf://" + "/".join(segments[:2])
    if len(segments) > 3 and segments[2] in ("tree", "blob", "resolve"):
        hub += "@" + "/".join(segments[3:])
    return f"{url} is a page of the Hugging Face Hub. To load from it, write: {hub}"
