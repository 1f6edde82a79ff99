"""A real, tiny HTTP server that publishes a key set on loopback, counts who asks, and can be told to misbehave.

Runs in threads of its own, so that code under test which blocks its event loop is seen to block. Called by the tests
of auth and by whole-server tests that sign people in with an issuer of their own.
"""

import json
import ssl
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

LONGEST_HOLD_S = 30.0
"""After which a held answer goes out anyway, so that a failed test ends."""


class JwksServer:
    """Answers every path with the published key set.

    requests: the paths asked for so far, one entry a request.
    down: while set, connections are closed without an answer.
    """

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.requests: list[str] = []
        self.down = False
        self._status = 200
        self._headers: dict[str, str] = {}
        self._body = b'{"keys": []}'
        self._is_dripping = False
        self._open_gate = threading.Event()
        self._open_gate.set()
        self._server = _Server(("127.0.0.1", 0), _handler_for(self))
        if tls is not None:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        scheme = "http" if tls is None else "https"
        self.url = f"{scheme}://127.0.0.1:{self._server.server_port}/.well-known/jwks.json"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})

    @property
    def fetches(self) -> int:
        """How many requests have come in."""
        return len(self.requests)

    def publish(self, *keys: dict[str, Any]) -> None:
        """From now on answer properly with these JWKs."""
        self.answer(json.dumps({"keys": list(keys)}).encode())

    def answer(self, body: bytes, status: int = 200, headers: dict[str, str] | None = None) -> None:
        """From now on answer exactly this."""
        self._body, self._status, self._headers = body, status, headers or {}

    def drip(self) -> None:
        """From now on answer with white space, slowly and for ever."""
        self._is_dripping = True

    def hold(self) -> None:
        """Keep every answer back until `release`."""
        self._open_gate.clear()

    def release(self) -> None:
        """Send what was held back."""
        self._open_gate.set()

    def respond(self, request: BaseHTTPRequestHandler) -> None:
        """Answer one request; called by the server's threads."""
        self.requests.append(request.path)
        self._open_gate.wait(LONGEST_HOLD_S)
        if self.down:
            request.close_connection = True
            return
        request.send_response(self._status)
        for name, value in self._headers.items():
            request.send_header(name, value)
        if self._is_dripping:
            self._drip_into(request)
            return
        request.send_header("Content-Length", str(len(self._body)))
        request.end_headers()
        request.wfile.write(self._body)

    def _drip_into(self, request: BaseHTTPRequestHandler) -> None:
        request.end_headers()
        pause = threading.Event()  # never set: its wait is the pause
        for _ in range(int(LONGEST_HOLD_S / 0.02)):
            request.wfile.write(b" ")
            pause.wait(0.02)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, failure: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    request_queue_size = 128

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away, or refused our certificate, is part of the tests and no news."""


def _handler_for(jwks: JwksServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            jwks.respond(self)

        def log_message(self, format: str, *args: Any) -> None:
            """Tests count requests; nobody reads an access log."""

    return Handler
