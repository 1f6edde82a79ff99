"""An HTTP proxy on the loopback for tests: what can go wrong between a program and an object store.

It relays to a port of this machine and asks `fault` about every request: answer it with an error, forward it and lose
the answer, hold it, cut it in the middle. Lives in threads of its own, so a test's loop may block. Called by tests of
S3 under faults.
"""

from __future__ import annotations

import http.client
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

HOP = {"connection", "expect", "keep-alive", "transfer-encoding"}
LONGEST_S = 60.0


@dataclass(frozen=True)
class Answer:
    """Answer with an S3 error and forward nothing."""

    status: int
    code: str


@dataclass(frozen=True)
class LoseAnswer:
    """Forward, wait for the answer, and close the connection without it."""


@dataclass(frozen=True)
class Cut:
    """Forward the head and the first `at` bytes of the body, then close both connections."""

    at: int


@dataclass(frozen=True)
class Shorten:
    """Forward the body without its end, as if that were all, and pass the answer on."""

    by: int


@dataclass
class Hold:
    """Say that the request has come (`reached`), and forward it when told to (`go_on`)."""

    reached: threading.Event = field(default_factory=threading.Event)
    go_on: threading.Event = field(default_factory=threading.Event)


Fault = Answer | LoseAnswer | Cut | Shorten | Hold | None


@dataclass(frozen=True)
class Request:
    """What the proxy was asked."""

    method: str
    path: str
    size_bytes: int
    at: float


class HttpFaults:
    """A proxy on a free port. `fault` decides about each request; `requests` are all there were."""

    def __init__(self, target_port: int) -> None:
        self.target_port = target_port
        self.fault: Callable[[Request], Fault] = lambda _request: None
        self.requests: list[Request] = []
        self._held: list[Hold] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        proxy = self

        class Relay(_Relay):
            owner = proxy

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Relay)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for hold in self._held:
            hold.go_on.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def asked(self, request: Request) -> Fault:
        """Note the request; what to do with it."""
        self.requests.append(request)
        fault = self.fault(request)
        if isinstance(fault, Hold):
            self._held.append(fault)
        return fault


class _Relay(BaseHTTPRequestHandler):
    owner: HttpFaults
    protocol_version = "HTTP/1.1"

    def relay(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        fault = self.owner.asked(Request(self.command, self.path, len(body), time.monotonic()))
        self.close_connection = True
        if isinstance(fault, Answer):
            self._answer(fault)
        elif isinstance(fault, Cut):
            self._cut(body[: fault.at])
        else:
            if isinstance(fault, Hold):
                fault.reached.set()
                fault.go_on.wait(LONGEST_S)
            if isinstance(fault, Shorten):
                body = body[: -fault.by]
            with suppress(OSError, http.client.HTTPException):  # one side is gone: so is the other
                self._forward(body, lose_answer=isinstance(fault, LoseAnswer))

    do_GET = do_PUT = do_HEAD = do_DELETE = do_POST = relay  # noqa: N815 - http.server's names

    def log_message(self, format: str, *arguments: Any) -> None:
        """Say nothing."""

    def _answer(self, fault: Answer) -> None:
        body = f"<Error><Code>{fault.code}</Code><Message>as the test wants</Message></Error>".encode()
        self.send_response(fault.status)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Connection", "close")
        self.end_headers()
        with suppress(OSError):
            self.wfile.write(b"" if self.command == "HEAD" else body)

    def _forward(self, body: bytes, *, lose_answer: bool) -> None:
        upstream = http.client.HTTPConnection("127.0.0.1", self.owner.target_port, timeout=LONGEST_S)
        try:
            upstream.request(self.command, self.path, body, self._headers(len(body)))
            answer = upstream.getresponse()
            content = answer.read()
            if lose_answer:
                return
            self.send_response_only(answer.status)
            for name, value in answer.getheaders():
                if name.lower() not in HOP | {"content-length"}:
                    self.send_header(name, value)
            length = answer.getheader("Content-Length") if self.command == "HEAD" else str(len(content))
            self.send_header("Content-Length", length or "0")
            self.send_header("Connection", "close")
            self.end_headers()
            self.wfile.write(content)
        finally:
            upstream.close()

    def _cut(self, begun: bytes) -> None:
        head = [f"{self.command} {self.path} HTTP/1.1"]
        head += [f"{name}: {value}" for name, value in self.headers.items() if name.lower() not in HOP]
        with socket.create_connection(("127.0.0.1", self.owner.target_port)) as upstream:
            upstream.sendall("\r\n".join([*head, "", ""]).encode() + begun)

    def _headers(self, length: int) -> dict[str, str]:
        headers = {name: value for name, value in self.headers.items() if name.lower() not in HOP}
        return headers | ({"Content-Length": str(length)} if length or "Content-Length" in headers else {})
