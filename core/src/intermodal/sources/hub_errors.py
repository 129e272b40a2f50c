"""Turns what huggingface_hub raises into errors that say what to do."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from intermodal.errors import SourceError

PUBLIC_HUB = "https://huggingface.co"


@contextmanager
def explained(uri: str, repo_id: str, revision: str | None, endpoint: str | None, what: str) -> Iterator[None]:
    """Raise a SourceError for what the Hub's client or the network raises inside the block.

    Args:
        uri: what the user wrote.
        repo_id: the repository.
        revision: the revision asked for, or None.
        endpoint: the Hub's address, or None for the client's own.
        what: what was being done, for the message ("fetching config.json").
    """
    from huggingface_hub.errors import LocalTokenNotFoundError

    try:
        yield
    except SourceError:
        raise
    except LocalTokenNotFoundError as error:
        raise SourceError(f"{uri}: no token is saved on this machine. {_LOGIN}") from error
    except (http_error(), OSError, ValueError, KeyError, TypeError) as error:
        # The last two are what the client raises for an answer that is not the Hub's.
        raise SourceError(_message(error, uri, repo_id, revision, endpoint, what)) from error


def is_unreachable(error: SourceError) -> bool:
    """Whether the Hub itself did not answer, or only with a failure of its own, so that the cache may stand in."""
    from huggingface_hub.errors import HfHubHTTPError

    cause = error.__cause__
    if isinstance(cause, HfHubHTTPError):
        return cause.response.status_code >= 500
    return isinstance(cause, http_error())


def http_error() -> type[Exception]:
    """What the client's HTTP library raises for every failure; which library that is changes with its version."""
    from huggingface_hub.errors import HfHubHTTPError

    return next(base for base in HfHubHTTPError.__mro__ if base.__name__ == "HTTPError")


_LOGIN = "Run intermodal.login() once, set HF_TOKEN, or pass token=."


def _message(error: Exception, uri: str, repo_id: str, revision: str | None, endpoint: str | None, what: str) -> str:
    from huggingface_hub import errors

    page = f"{endpoint or os.environ.get('HF_ENDPOINT') or PUBLIC_HUB}/{repo_id}"
    match error:
        case errors.GatedRepoError():
            return f"{uri}: {repo_id} is gated. Accept its terms at {page} with your account, then log in: {_LOGIN}"
        case errors.RepositoryNotFoundError():
            return (
                f"{uri}: {repo_id} does not exist, or is private and the token that was sent (if any) has no access to "
                f"it. Check the name at {page}{'' if '/' in repo_id else ' (most have two parts, org/name)'}. If it is "
                f"private: {_LOGIN}"
            )
        case errors.RevisionNotFoundError():
            return f"{uri}: {repo_id} has no revision {revision or 'main'!r}. Its branches and tags: {page}/tree/main"
        case errors.DisabledRepoError():
            return f"{uri}: {repo_id} has been disabled by its owner or by the Hub; see {page}."
        case errors.RemoteEntryNotFoundError():
            return f"{uri}: the Hub has no such file ({what}). Its files: {page}/tree/main"
        case errors.HfHubHTTPError():
            return f"{uri}: {_status(error)} The Hub's answer to {what}: {_first_line(error)}"
        case ValueError() | KeyError() | TypeError():
            return f"{uri}: the answer to {what} is not the Hub's ({_first_line(error)}). Check HF_ENDPOINT: {page}"
        case _:
            return _connection(error, uri, what)


def _status(error: Exception) -> str:
    status = getattr(getattr(error, "response", None), "status_code", 0)
    if status == 401:
        return f"the token that was sent is not valid, or has expired. {_LOGIN}"
    if status == 403:
        return f"the token that was sent may not read this. Give it read access, or use another: {_LOGIN}"
    if status == 429:
        return "the Hub limits how often it may be asked; wait a little, or log in for a higher limit."
    if status >= 500:
        return f"the Hub has a problem of its own (HTTP {status}); try again later."
    return f"the Hub refused (HTTP {status})."


def _connection(error: Exception, uri: str, what: str) -> str:
    """For what went wrong on the way: nothing that is half fetched is ever used."""
    chain: list[BaseException] = [error]
    while (cause := chain[-1].__cause__ or chain[-1].__context__) is not None and cause not in chain:
        chain.append(cause)
    names = " ".join(type(link).__name__ for link in chain)
    again = "What was fetched completely is kept, so running it again goes on from there."
    if "Consistency check failed" in str(error):
        return f"{uri}: the transfer was cut off while {what}; the part that came was thrown away. {again}"
    if getattr(error, "errno", None) == 28:
        return f"{uri}: the disk is full ({what}). Make room, or choose another with cache_dir= or HF_HOME. {again}"
    if isinstance(error, PermissionError):
        return f"{uri}: no permission to write to the cache ({error}). Choose another place with cache_dir= or HF_HOME."
    if "ProxyError" in names:
        return f"{uri}: the proxy failed while {what} ({_first_line(error)}). Check HTTPS_PROXY and NO_PROXY."
    if "Timeout" in names:
        return (
            f"{uri}: the Hub did not answer in time while {what}. Try again, or allow more time with "
            f"HF_HUB_DOWNLOAD_TIMEOUT (seconds). {again}"
        )
    return (
        f"{uri}: the connection to the Hub failed while {what} ({_first_line(error)}). Check the network. {again} "
        "If everything is cached already, load with local_files_only=True or HF_HUB_OFFLINE=1."
    )


def _first_line(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return text[:300] or type(error).__name__
