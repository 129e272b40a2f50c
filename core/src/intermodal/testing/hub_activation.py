"""Points the huggingface_hub client of this process at another hub for a while."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def client_pointed_at(endpoint: str, home: Path, variables: Mapping[str, str]) -> Iterator[None]:
    """Set the environment, and in the client what it read from the environment when it was imported; then undo both.

    Args:
        endpoint: the hub's address.
        home: the client's home folder.
        variables: the environment variables that say so.
    """
    # Imported before the variables are set, so that the client keeps nothing of them afterwards.
    import huggingface_hub
    from huggingface_hub import constants, hf_api

    settings = {
        "ENDPOINT": endpoint,
        "HUGGINGFACE_CO_URL_TEMPLATE": endpoint + "/{repo_id}/resolve/{revision}/{filename}",
        "HF_HUB_CACHE": str(home / "hub"),
        "HF_TOKEN_PATH": str(home / "token"),
        "HF_STORED_TOKENS_PATH": str(home / "stored_tokens"),
        "HF_HUB_OFFLINE": False,
        "HF_HUB_DISABLE_XET": True,
    }
    environment = {name: os.environ.get(name) for name in variables}
    before = {name: getattr(constants, name) for name in settings}
    default_endpoint = hf_api.api.endpoint  # of the object behind the client's plain functions, whoami and the like
    os.environ.update(variables)
    for name, value in settings.items():
        setattr(constants, name, value)
    hf_api.api.endpoint = endpoint
    huggingface_hub.close_session()  # its connections, and the proxies it read, are of the time before
    try:
        yield
    finally:
        huggingface_hub.close_session()
        hf_api.api.endpoint = default_endpoint
        for name, value in before.items():
            setattr(constants, name, value)
        for name, old in environment.items():
            if old is None:
                del os.environ[name]
            else:
                os.environ[name] = old
