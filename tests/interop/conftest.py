"""What the interop tests share: a room of their own and clients to put in it."""

import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Protocol
from uuid import uuid4

import pytest

from auth.dev_keys import DevKeys
from auth.permissions import Role
from tests.services.node import VERSIONS, NodeClient
from tests.services.server import ServerProcess

TOKEN_S = 600.0
"""No test lasts as long."""


class Join(Protocol):
    """A new client in the room, of nobody in particular; the keywords are NodeClient's."""

    async def __call__(self, version: str, **keywords: Any) -> NodeClient: ...


class SignIn(Protocol):
    """A new client in the room whose token says `name`; its own awareness claims to be somebody else."""

    async def __call__(self, version: str, name: str) -> NodeClient: ...


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


@pytest.fixture
async def sign_in(node_packages: Path, dev_server: ServerProcess, room: str) -> AsyncIterator[SignIn]:
    keys = DevKeys.load_or_create(dev_server.folder / "data" / "keys")
    impostor = {"user": {"name": "somebody else", "color": "#30bced"}}
    async with AsyncExitStack() as clients:

        async def sign_in(version: str, name: str) -> NodeClient:
            token = keys.sign(f"subject-{name}", name, {room: Role.EDITOR}, (), TOKEN_S, time.time())
            client = NodeClient(dev_server.websocket_url, room, version=version, token=token, awareness=impostor)
            return await clients.enter_async_context(client)

        yield sign_in
