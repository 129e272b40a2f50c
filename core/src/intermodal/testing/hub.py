"""A Hugging Face Hub on 127.0.0.1, so that code which loads from `hf://` is tested with the real client.

    with LoopbackHub() as hub, hub.activate():
        hub.add_repo("org/name", folder)
        model = intermodal.load("hf://org/name")
        assert hub.sent("model.safetensors") == 0  # nothing of the weights was transferred yet

It is a real HTTP server that speaks what huggingface_hub asks for: revisions, listings, downloads with ranges, private
and gated repositories, tokens, creating repositories and uploading. Xet is left out. For a subprocess, pass
`env={**os.environ, **hub.environment()}` instead of `activate()`.
"""

from __future__ import annotations

import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote

from intermodal.testing.hub_activation import client_pointed_at
from intermodal.testing.hub_protocol import HubHandler
from intermodal.testing.hub_store import Blob, HubRepo, folder_blobs

TOKEN = "hf_loopback"
"""A token that every loopback hub knows. It sees private repositories; gated ones need `accept_terms` first."""


@dataclass
class Fault:
    """Something that goes wrong with requests, as often as `times` says.

    Attributes:
        path: part of the request's path (`"model.safetensors"`).
        method: GET, HEAD or POST.
        times: how many requests it meets.
        status: answer with this HTTP status.
        truncate: drop the connection after this many bytes of a file.
        shorten: send this many bytes of a file as if they were all of it.
        delay: wait this many seconds first.
        disconnect: drop the connection without an answer.
    """

    path: str
    method: str = "GET"
    times: int = 1
    status: int | None = None
    truncate: int | None = None
    shorten: int | None = None
    delay: float = 0.0
    disconnect: bool = False


@dataclass(frozen=True)
class LoggedRequest:
    """A request that was answered: what was asked (path unquoted), with which range and token, and what was sent.

    `sent` counts the bytes of file content only; `status` is 0 where the connection was dropped.
    """

    method: str
    path: str
    range: str | None
    token: str | None
    status: int
    sent: int


class LoopbackHub:
    """The server; use it as a context manager.

    Args:
        cdn: answer for weights with a redirect to another host name, as the Hub does. Tokens must not follow there.

    Attributes:
        endpoint: its address, for HF_ENDPOINT.
        home: the empty folder that `environment` makes the client's home.
        repositories: what it holds, by `org/name`.
        moved: old name → `org/name`, where the hub leads whoever asks for the old one.
        tokens: the tokens it knows, and whose they are.
        requests: every request so far.
    """

    def __init__(self, cdn: bool = False) -> None:
        self.cdn = cdn
        self.repositories: dict[str, HubRepo] = {}
        self.moved: dict[str, str] = {}
        self.tokens = {TOKEN: "tester"}
        self.requests: list[LoggedRequest] = []
        self._faults: list[Fault] = []
        self._lock = threading.Lock()
        self._folder = tempfile.TemporaryDirectory(prefix="loopback-hub-")
        self.home = Path(self._folder.name)

    def __enter__(self) -> LoopbackHub:
        handler = type("Handler", (HubHandler,), {"hub": self})
        self._server = _Server(("127.0.0.1", 0), handler)
        self.endpoint = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._remove_home()

    def _remove_home(self) -> None:
        """Remove the home. A download that was abandoned may be writing there still: try until it has noticed."""
        for _ in range(100):
            try:
                return self._folder.cleanup()
            except OSError:
                time.sleep(0.1)
        self._folder.cleanup()

    # --- what it holds -------------------------------------------------------------------------------------------

    def add_repo(
        self,
        repo_id: str,
        files: Path | str | Mapping[str, bytes],
        *,
        private: bool = False,
        gated: bool = False,
    ) -> str:
        """Add a repository with one commit on its branch `main`.

        Args:
            repo_id: `org/name`.
            files: a folder (read when files are asked for, so it must not change), or path → content.
            private: only requests with a token see it.
            gated: its files go only to tokens that `accept_terms` was called for.

        Returns:
            The commit.
        """
        self.repositories[repo_id] = HubRepo(repo_id, private, gated)
        return self.commit(repo_id, files)

    def commit(self, repo_id: str, files: Path | str | Mapping[str, bytes], branch: str = "main") -> str:
        """Make a new commit of exactly these files, and move the branch (made if need be) to it. Returns the commit."""
        if isinstance(files, Mapping):
            blobs = {path: Blob(content) for path, content in files.items()}
        else:
            blobs = folder_blobs(Path(files))
        return self.repositories[repo_id].commit(blobs, branch)

    def accept_terms(self, repo_id: str, token: str = TOKEN) -> None:
        """Let a token read a gated repository."""
        self.repositories[repo_id].accepted.add(token)

    # --- what goes wrong, and what was asked -------------------------------------------------------------------

    def inject(self, fault: Fault) -> None:
        """Let requests that match a fault go wrong."""
        with self._lock:
            self._faults.append(fault)

    def take_fault(self, method: str, path: str) -> Fault | None:
        """The fault that meets a request, counted down."""
        with self._lock:
            for fault in self._faults:
                if fault.times > 0 and fault.method == method and fault.path in path:
                    fault.times -= 1
                    return fault
        return None

    def record(self, request: BaseHTTPRequestHandler, status: int, sent: int) -> None:
        """Note a request in the log."""
        token = request.headers.get("Authorization", "").removeprefix("Bearer ") or None
        path = unquote(request.path.partition("?")[0])
        entry = LoggedRequest(request.command, path, request.headers.get("Range"), token, status, sent)
        with self._lock:
            self.requests.append(entry)

    def sent(self, name: str) -> int:
        """Bytes of content sent so far of files whose path ends with `name`."""
        with self._lock:
            return sum(entry.sent for entry in self.requests if entry.path.endswith(name))

    # --- how a client is pointed at it -----------------------------------------------------------------------------

    def environment(self, token: str | None = None) -> dict[str, str]:
        """Variables that point huggingface_hub here and at an empty home. It reads most of them when imported.

        Args:
            token: what HF_TOKEN says; None leaves the client without a token.
        """
        return {
            "HF_ENDPOINT": self.endpoint,
            "HF_HOME": str(self.home),
            "HF_HUB_CACHE": str(self.home / "hub"),
            "HF_TOKEN_PATH": str(self.home / "token"),
            "HF_TOKEN": token or "",
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_HUB_OFFLINE": "0",
            "NO_PROXY": "127.0.0.1,localhost",
            "no_proxy": "127.0.0.1,localhost",
        }

    def activate(self, token: str | None = None) -> AbstractContextManager[None]:
        """Point this process here: the variables of `environment`, and what an imported client has read of them.

        Args:
            token: what HF_TOKEN says; None leaves the client without a token.
        """
        return client_pointed_at(self.endpoint, self.home, self.environment(token))


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """Be silent about clients that hang up, which tests of interruptions make them do."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)  # pyright: ignore[reportArgumentType]
