"""What the interop tests share: a room of their own and clients to put in it.

`StockServer` and `open_server` at the end are a local stand-in, to be deleted once tests/services/fixtures_server.py
provides the product's `open_server`.
"""

import os
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, closing
from pathlib import Path
from typing import Any, Protocol
from uuid import uuid4

import pytest

from tests.services.node import INTEROP, VERSIONS, NodeClient


class Join(Protocol):
    """A new client in the room; the keywords are NodeClient's."""

    async def __call__(self, version: str, **keywords: Any) -> NodeClient: ...


@pytest.fixture(params=VERSIONS)
def version(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def room() -> str:
    return f"interop-{uuid4().hex}"


@pytest.fixture
async def join(node_packages: Path, open_server: Any, room: str) -> AsyncIterator[Join]:
    async with AsyncExitStack() as clients:

        async def join(version: str, **keywords: Any) -> NodeClient:
            client = NodeClient(open_server.websocket_url, room, version=version, **keywords)
            return await clients.enter_async_context(client)

        yield join



class StockServer:
    def __init__(self) -> None:
        with closing(socket.socket()) as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.websocket_url = f"ws://127.0.0.1:{self.port}/ws"
        self.restart()

    def restart(self) -> None:
        if hasattr(self, "node"):
            self.kill()
        self.node = subprocess.Popen(
            ["node", "node_modules/y-websocket-2/bin/server.cjs"],
            cwd=INTEROP,
            env={**os.environ, "HOST": "127.0.0.1", "PORT": str(self.port)},
            stdout=subprocess.DEVNULL,
        )
        for _ in range(200):
            with closing(socket.socket()) as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.05)
        raise AssertionError("the stock server did not come up")

    def kill(self) -> None:
        self.node.kill()
        self.node.wait()

    stop = kill


@pytest.fixture(scope="session")
def open_server(node_packages: Path) -> Iterator[StockServer]:
    server = StockServer()
    yield server
    server.kill()
