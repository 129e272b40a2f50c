"""One connection to the loopback hub: HTTP with ranges, a log, and the faults that a test asked for."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, unquote, urlsplit

from intermodal.testing.hub_routes import Answer, Call, HubError, answer
from intermodal.testing.hub_store import Blob

if TYPE_CHECKING:
    from intermodal.testing.hub import Fault, LoopbackHub

_RANGE = re.compile(r"bytes=(\d+)-(\d*)")


class HubHandler(BaseHTTPRequestHandler):
    """Answers one connection. Subclassed by `LoopbackHub`, which sets `hub`."""

    hub: LoopbackHub
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        """Answer a GET, HEAD or POST."""
        url = urlsplit(self.path)
        self._sent, self._status = 0, 0
        self._fault = self.hub.take_fault(self.command, unquote(url.path))
        try:
            # Segments are unquoted one by one: a revision like refs/pr/1 comes as one segment with %2F in it.
            call = Call(
                segments=[unquote(segment) for segment in url.path.strip("/").split("/")],
                query={key: values[-1] for key, values in parse_qs(url.query).items()},
                token=self.headers.get("Authorization", "").removeprefix("Bearer ") or None,
                body=self._body(),
            )
            if self._fault is None or self._go_on(self._fault):
                self._send(self._answer(call))
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True
        finally:
            self.hub.record(self, self._status, self._sent)

    do_HEAD = do_POST = do_GET

    def log_message(self, format: str, *args: Any) -> None:
        """Print nothing; the hub keeps its own log."""

    def _answer(self, call: Call) -> Answer:
        try:
            if self._fault is not None and self._fault.status is not None:
                raise HubError(self._fault.status, message="injected fault")
            return answer(self.hub, call)
        except HubError as error:
            return error.answer()

    def _go_on(self, fault: Fault) -> bool:
        """Wait as a fault says; False if nothing is to be answered at all."""
        time.sleep(fault.delay)
        self.close_connection = fault.disconnect
        return not fault.disconnect

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        data = b""
        while size := int(self.rfile.readline().split(b";")[0], 16):
            data += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return data

    def _send(self, answer: Answer) -> None:
        if answer.content is not None:
            self._send_file(answer.headers, answer.content)
            return
        self._send_head(answer.status, {**answer.headers, "Content-Length": str(len(answer.body))})
        if self.command != "HEAD":
            self.wfile.write(answer.body)

    def _send_file(self, headers: Mapping[str, str], blob: Blob) -> None:
        start, stop, status = 0, blob.size, 200
        wanted = _RANGE.fullmatch(self.headers.get("Range", ""))
        if wanted is not None:
            start, last = int(wanted[1]), int(wanted[2] or blob.size - 1)
            if start >= blob.size:
                self._send(HubError(416, message="Requested range not satisfiable").answer())
                return
            stop, status = min(last + 1, blob.size), 206
            headers = {**headers, "Content-Range": f"bytes {start}-{stop - 1}/{blob.size}"}
        fault = self._fault
        if fault is not None and fault.shorten is not None:
            stop = min(stop, start + fault.shorten)
        self._send_head(status, {**headers, "Content-Length": str(stop - start)})
        if self.command == "HEAD":
            return
        if fault is not None and fault.truncate is not None and fault.truncate < stop - start:
            stop, self.close_connection = start + fault.truncate, True
        for chunk in blob.chunks(start, stop):
            self.wfile.write(chunk)
            self._sent += len(chunk)

    def _send_head(self, status: int, headers: Mapping[str, str]) -> None:
        self._status = status
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
