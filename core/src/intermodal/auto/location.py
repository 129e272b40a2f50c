"""What `from_pretrained` names, and how it may be fetched: the arguments that every auto class takes."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from intermodal.errors import SourceError
from intermodal.sources.base import Access, check_file_name
from intermodal.sources.names import uri_of_name

if TYPE_CHECKING:
    from intermodal.sources.base import Repository

ACCESS = ("revision", "token", "cache_dir", "local_files_only", "force_download", "subfolder")
_NO_EFFECT = ("proxies", "resume_download", "code_revision", "mirror", "tqdm_class")
_TRUST = (
    "trust_remote_code=True would run Python that the repository holds, which intermodal never does. What it would do "
    "is done by a plugin, a package that you install and can read: `intermodal plugins` lists what is here, and a new "
    "architecture is one small package (docs/how-to/from-transformers.md, CONTRIBUTING.md)."
)


@dataclass(frozen=True)
class Location:
    """Where something is read from.

    Attributes:
        uri: as `load` takes it.
        access: how it may be fetched.
        named: what the user wrote.
    """

    uri: str
    access: Access
    named: str

    def open(self) -> Repository:
        """The repository: nothing but listings is fetched.

        Raises:
            SourceError: it does not exist, or cannot be reached.
        """
        from intermodal.plugins import manager
        from intermodal.sources import open_repository

        return open_repository(self.uri, self.access, manager().source)

    def open_model(self) -> Repository:
        """The repository, or where it holds an adapter that of the adapter's model."""
        from intermodal.adapters.adapter_config import read_adapter_config
        from intermodal.adapters.opening import is_adapter, open_base

        repository = self.open()
        if not is_adapter(repository):
            return repository
        return open_base(repository, read_adapter_config(repository), self.access)


def take_location(name: str | os.PathLike[str], arguments: dict[str, Any]) -> Location:
    """Take the arguments that say where and how out of `arguments`, and what they come to.

    As in transformers, `org/name` and the old names of one word (`gpt2`) are repositories on the Hub
    unless there is a folder of that name. URIs (`hf://…`, `pkg://…`) and paths are taken too.

    Args:
        name: the first argument of `from_pretrained`.
        arguments: its keywords; what concerns fetching is removed from them.

    Raises:
        SourceError: a keyword is one that has no effect, or code of the repository's own is to be run.
    """
    if arguments.pop("trust_remote_code", None):
        raise SourceError(_TRUST)
    if arguments.pop("use_auth_token", None) is not None:
        raise SourceError("use_auth_token is called token now: pass token=… instead.")
    refused = [key for key in _NO_EFFECT if arguments.pop(key, None) not in (None, False)]
    if refused:
        raise SourceError(
            f"{', '.join(refused)} has no effect here: leave it out. Proxies are set in the environment (HTTPS_PROXY)."
        )
    gguf_file = arguments.pop("gguf_file", None)
    access = {key: arguments.pop(key) for key in ACCESS if key in arguments}
    uri = uri_of_name(os.fspath(name))
    if gguf_file is not None:
        folder = (access.pop("subfolder", None) or "").strip("/")
        uri = "/".join(part for part in (uri.rstrip("/"), folder, check_file_name(gguf_file, uri)) if part)
    access["local_files_only"] = bool(access.get("local_files_only"))
    access["force_download"] = bool(access.get("force_download"))
    return Location(uri, Access(**{**access, "subfolder": access.get("subfolder") or None}), os.fspath(name))
