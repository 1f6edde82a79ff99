"""What the interop tests share: a room of their own and clients to put in it."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Protocol
from uuid import uuid4

import pytest

from tests.services.node import VERSIONS, NodeClient
from tests.services.server import ServerProcess


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
async def join(node_packages: Path, open_server: ServerProcess, room: str) -> AsyncIterator[Join]:
    async with AsyncExitStack() as clients:

        async def join(version: str, **keywords: Any) -> NodeClient:
            client = NodeClient(open_server.websocket_url, room, version=version, **keywords)
            return await clients.enter_async_context(client)

        yield join
