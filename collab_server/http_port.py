"""An ASGI application on a port of this process, beside the WebSocket server and in its loop.

Leaves signals alone: the command that runs the process decides when to stop. Used for the admin port and the web page.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Generator

import uvicorn
from starlette.types import ASGIApp

from collab_server.server import port_taken


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield


class HttpPort:
    """Serves `app` on `host`:`port` (0: a free one, then in `port`). `setting` is named when the port is taken."""

    def __init__(self, app: ASGIApp, host: str, port: int, setting: str) -> None:
        self._host = host
        self._setting = setting
        self._server = _Server(
            uvicorn.Config(
                app,
                log_config=None,
                access_log=False,
                lifespan="off",
                server_header=False,
                proxy_headers=False,  # who asks is told by the socket, not by a header
                # Idle keep-alive connections would hold up a drain.
                timeout_keep_alive=5,
                timeout_graceful_shutdown=2,
            )
        )
        self._serving: asyncio.Task[None] | None = None
        self.port = port

    async def start(self) -> None:
        """Begin to listen. Raises `ConfigurationError` when the port cannot be had."""
        try:
            family = socket.AF_INET6 if ":" in self._host else socket.AF_INET
            listener = socket.create_server((self._host, self.port), family=family, backlog=2048)
        except OSError as error:
            raise port_taken(error, self._setting, self._host, self.port) from error
        listener.setblocking(False)
        self.port = listener.getsockname()[1]
        self._serving = asyncio.create_task(self._server.serve(sockets=[listener]), name=self._setting.lower())
        while not (self._server.started or self._serving.done()):  # noqa: ASYNC110 - uvicorn has no event for it
            await asyncio.sleep(0.01)

    async def close(self) -> None:
        """Stop listening and let requests under way finish, for two seconds at most."""
        self._server.should_exit = True
        if self._serving is not None:
            await self._serving
