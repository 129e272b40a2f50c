"""What the loopback hub answers: the Hub's routes, as far as huggingface_hub asks for them for models."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

from intermodal.testing.hub_store import Blob, HubRepo, is_large

if TYPE_CHECKING:
    from intermodal.testing.hub import LoopbackHub


@dataclass(frozen=True)
class Call:
    """One request: the path's segments (unquoted), its query, the token that came with it, and the body."""

    segments: list[str]
    query: Mapping[str, str]
    token: str | None
    body: bytes


@dataclass(frozen=True)
class Answer:
    """One answer. `content` is sent as a file, with ranges; `body` as it is."""

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    content: Blob | None = None


class HubError(Exception):
    """An answer that the client turns into an exception, by the code in a header."""

    def __init__(self, status: int, code: str = "", message: str = "") -> None:
        super().__init__(message or code)
        self.status, self.code, self.message = status, code, message or code

    def answer(self) -> Answer:
        """The error on the wire."""
        headers = {"X-Error-Message": self.message, "Content-Type": "application/json"}
        if self.code:
            headers["X-Error-Code"] = self.code
        return Answer(self.status, headers, json.dumps({"error": self.message}).encode())


def answer(hub: LoopbackHub, call: Call) -> Answer:
    """Answer a request.

    Raises:
        HubError: there is no such thing, or the token may not see it.
    """
    if call.token is not None and call.token not in hub.tokens:
        raise HubError(401, message="Invalid credentials in Authorization header")
    moved = _moved(hub, call)
    if moved is not None:
        return moved
    match call.segments:
        case ["api", "whoami-v2"]:
            return _json(_whoami(_user(hub, call)))
        case ["api", "validate-yaml"]:
            return _json({"errors": [], "warnings": []})
        case ["api", "repos", "create"]:
            return _create(hub, _user(hub, call), json.loads(call.body))
        case ["api", "models", name]:  # an old name that leads nowhere
            return _api(hub, _visible(hub, call, name), [], call)
        case ["api", "models", org, name, *rest]:
            return _api(hub, _visible(hub, call, f"{org}/{name}"), rest, call)
        case ["cdn", org, name, commit, *path]:
            return _file(hub.repositories[f"{org}/{name}"], commit, "/".join(path))
        case [org, name, "resolve", revision, *path]:
            return _resolve(hub, _visible(hub, call, f"{org}/{name}"), revision, "/".join(path), call)
        case _:
            raise HubError(404, message="no such route")


def _api(hub: LoopbackHub, repo: HubRepo, rest: list[str], call: Call) -> Answer:
    match rest:
        case []:
            return _json(_info(repo, "main", "blobs" in call.query))
        case ["revision", revision]:
            return _json(_info(repo, revision, "blobs" in call.query))
        case ["tree", revision, *folder]:
            deep = call.query.get("recursive", "").lower() in ("true", "1")
            return _json(_tree(repo, revision, "/".join(folder), deep))
        case ["refs"]:
            branches = [{"name": name, "ref": f"refs/heads/{name}", "targetCommit": c} for name, c in repo.refs.items()]
            return _json({"branches": branches, "tags": [], "converts": []})
        case ["auth-check"]:
            _check_terms(repo, call)
            return _json({})
        case ["preupload", _]:
            _user(hub, call)
            paths = [file["path"] for file in json.loads(call.body)["files"]]
            return _json({"files": [{"path": p, "uploadMode": "regular", "shouldIgnore": False} for p in paths]})
        case ["commit", branch]:
            _user(hub, call)
            commit = _commit(repo, branch, call.body)
            return _json({"commitOid": commit, "commitUrl": f"{hub.endpoint}/{repo.repo_id}/commit/{commit}"})
        case _:
            raise HubError(404, message="no such route")


def _moved(hub: LoopbackHub, call: Call) -> Answer | None:
    """Where a repository is now that is asked for by its old name."""
    front = ["api", "models"] if call.segments[:2] == ["api", "models"] else []
    rest = call.segments[len(front) :]
    for old, new in hub.moved.items():
        parts = old.split("/")
        if rest[: len(parts)] == parts:
            path = "/".join(quote(part, safe="") for part in (*front, *new.split("/"), *rest[len(parts) :]))
            return Answer(307, {"Location": f"/{path}" + (f"?{urlencode(call.query)}" if call.query else "")})
    return None


# --- who may see what ------------------------------------------------------------------------------------------------


def _visible(hub: LoopbackHub, call: Call, repo_id: str) -> HubRepo:
    """The repository; like the Hub, a private one looks as if it did not exist."""
    repo = hub.repositories.get(repo_id)
    if repo is None or (repo.private and call.token is None):
        raise HubError(404 if call.token else 401, "RepoNotFound", "Repository not found")
    return repo


def _check_terms(repo: HubRepo, call: Call) -> None:
    if repo.gated and call.token not in repo.accepted:
        raise HubError(403 if call.token else 401, "GatedRepo", f"Access to model {repo.repo_id} is restricted.")


def _commit_of(repo: HubRepo, revision: str) -> str:
    commit = repo.resolve(revision)
    if commit is None:
        raise HubError(404, "RevisionNotFound", f"Invalid rev id: {revision}")
    return commit


def _user(hub: LoopbackHub, call: Call) -> str:
    if call.token is None:
        raise HubError(401, message="Invalid username or password.")
    return hub.tokens[call.token]


# --- what is answered -----------------------------------------------------------------------------------------------


def _json(value: Any, status: int = 200) -> Answer:
    return Answer(status, {"Content-Type": "application/json"}, json.dumps(value).encode())


def _whoami(name: str) -> dict[str, Any]:
    access = {"role": "write", "displayName": "loopback"}
    return {"type": "user", "name": name, "auth": {"type": "access_token", "accessToken": access}, "orgs": []}


def _create(hub: LoopbackHub, user: str, wanted: dict[str, Any]) -> Answer:
    repo_id = f"{wanted.get('organization') or user}/{wanted['name']}"
    known = repo_id in hub.repositories
    if not known:
        hub.add_repo(repo_id, {}, private=bool(wanted.get("private")) or wanted.get("visibility") == "private")
    return _json({"url": f"{hub.endpoint}/{repo_id}", "name": repo_id, "id": repo_id}, status=409 if known else 200)


def _info(repo: HubRepo, revision: str, sizes: bool) -> dict[str, Any]:
    commit = _commit_of(repo, revision)
    files = repo.commits[commit]
    return {
        "_id": repo.repo_id,
        "id": repo.repo_id,
        "modelId": repo.repo_id,
        "sha": commit,
        "private": repo.private,
        "gated": "auto" if repo.gated else False,
        "disabled": False,
        "tags": [],
        "siblings": [{"rfilename": p, "size": blob.size} if sizes else {"rfilename": p} for p, blob in files.items()],
    }


def _tree(repo: HubRepo, revision: str, folder: str, deep: bool) -> list[dict[str, Any]]:
    commit = _commit_of(repo, revision)
    prefix = f"{folder}/" if folder else ""
    entries: dict[str, dict[str, Any]] = {}
    for path, blob in repo.commits[commit].items():
        if not path.startswith(prefix):
            continue
        name, below, _ = path.removeprefix(prefix).partition("/")
        if below and not deep:
            entries[prefix + name] = {"type": "directory", "oid": commit, "size": 0, "path": prefix + name}
            continue
        entries[path] = {"type": "file", "oid": blob.git_oid, "size": blob.size, "path": path}
        if is_large(path):
            entries[path]["lfs"] = {"oid": blob.sha256, "size": blob.size, "pointerSize": 134}
    return list(entries.values())


def _commit(repo: HubRepo, branch: str, body: bytes) -> str:
    parent = repo.resolve(branch)
    files = dict(repo.commits[parent]) if parent else {}
    for line in body.splitlines():
        item = json.loads(line)
        value = item["value"]
        match item["key"]:
            case "file":
                files[value["path"]] = Blob(base64.b64decode(value["content"]))
            case "deletedFile":
                files.pop(value["path"], None)
            case "deletedFolder":
                files = {path: blob for path, blob in files.items() if not path.startswith(value["path"])}
    return repo.commit(files, branch)


def _resolve(hub: LoopbackHub, repo: HubRepo, revision: str, path: str, call: Call) -> Answer:
    commit = _commit_of(repo, revision)
    _check_terms(repo, call)
    if path not in repo.commits[commit]:
        raise HubError(404, "EntryNotFound")
    if not (hub.cdn and is_large(path)):
        return _file(repo, commit, path)
    elsewhere = hub.endpoint.replace("127.0.0.1", "localhost")
    headers = {
        "Location": f"{elsewhere}/cdn/{repo.repo_id}/{commit}/{quote(path)}",
        "X-Repo-Commit": commit,
        "X-Linked-Etag": f'"{repo.etag(commit, path)}"',
        "X-Linked-Size": str(repo.commits[commit][path].size),
    }
    return Answer(302, headers)


def _file(repo: HubRepo, commit: str, path: str) -> Answer:
    headers = {"ETag": f'"{repo.etag(commit, path)}"', "X-Repo-Commit": commit, "Accept-Ranges": "bytes"}
    return Answer(200, headers, content=repo.commits[commit][path])
