"""Names as transformers takes them: a folder that is there, else a repository on the Hub."""

from __future__ import annotations

import re
from pathlib import Path

_HUB_NAME = re.compile(r"[\w.-]+(/[\w.-]+)?(@.+)?")
_FILES = (".safetensors", ".gguf", ".keras", ".json", ".bin")  # a file that is not there is no repository


def uri_of_name(name: str) -> str:
    """The URI, as `intermodal.load` takes it, of a name or a path; a URI is left as it is."""
    if "://" in name or Path(name).expanduser().exists():
        return name
    is_path = name.startswith(("./", "../")) or name in (".", "..") or name.endswith(_FILES)
    return f"hf://{name}" if _HUB_NAME.fullmatch(name) and not is_path else name
