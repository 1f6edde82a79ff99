"""A page and a plain Yjs relay, to run the browser tests before the server itself can: no roles, no storage.

Called by `conftest.py` alone, and goes when the `dev_server` of tests/services takes its place.
"""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import uvicorn
from pycrdt import Awareness, Doc, create_awareness_message, create_sync_message, handle_sync_message
from pycrdt import read_message as read_awareness
from websockets.asyncio.server import ServerConnection, serve

from rest_api.app import create_app
from rest_api.playground import PlaygroundConfig
from rest_api.sign_in import SignIn


@dataclass(frozen=True, slots=True)
class InterimServer:
    page_url: str
    websocket_url: str


@dataclass(slots=True)
class Relay:
    doc: Doc[Any] = field(default_factory=Doc)
    members: set[ServerConnection] = field(default_factory=set)
    awareness: Awareness = field(init=False)

    def __post_init__(self) -> None:
        self.awareness = Awareness(self.doc)
        self.awareness.set_local_state(None)

    async def serve(self, member: ServerConnection) -> None:
        self.members.add(member)
        clients: set[int] = set()
        try:
            await member.send(create_sync_message(self.doc))
            await member.send(self._awareness_frame(list(self.awareness.states)))
            async for frame in member:
                assert isinstance(frame, bytes)
                await self._take(member, frame, clients)
        finally:
            self.members.discard(member)
            self.awareness.remove_awareness_states(list(clients), "left")
            await self._tell(self._awareness_frame(list(clients)))

    async def _take(self, member: ServerConnection, frame: bytes, clients: set[int]) -> None:
        if frame[0] == 1:
            before = set(self.awareness.states)
            self.awareness.apply_awareness_update(read_awareness(frame[1:]), member)
            clients |= set(self.awareness.states) - before
            await self._tell(frame)
            return
        reply = handle_sync_message(frame[1:], self.doc)
        if reply is not None:
            await member.send(reply)
        if frame[1] != 0:
            await self._tell(bytes([0, 2]) + frame[2:])

    def _awareness_frame(self, clients: list[int]) -> bytes:
        return create_awareness_message(self.awareness.encode_awareness_update(clients))

    async def _tell(self, frame: bytes) -> None:
        for member in list(self.members):
            with suppress(Exception):
                await member.send(frame)


def _sign(*, subject: str, name: str, document: str, role: str, expires_s: int, now: float) -> str:
    return f"{subject}.{role}"


@asynccontextmanager
async def interim_server(built_page: Path) -> AsyncIterator[InterimServer]:
    relays: dict[str, Relay] = defaultdict(Relay)

    async def accept(connection: ServerConnection) -> None:
        assert connection.request is not None
        await relays[connection.request.path.partition("?")[0]].serve(connection)

    async with serve(accept, "127.0.0.1", 0) as websocket_server:
        port = next(iter(websocket_server.sockets)).getsockname()[1]
        websocket_url = f"ws://127.0.0.1:{port}/ws"
        app = create_app(PlaygroundConfig(websocket_url, "dev", "test", built_page), SignIn(sign=_sign))
        server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_level="warning", proxy_headers=False))
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(server.serve())
            while not server.started:  # noqa: ASYNC110 - uvicorn has no event for it
                await asyncio.sleep(0.01)
            page_port = server.servers[0].sockets[0].getsockname()[1]
            yield InterimServer(f"http://127.0.0.1:{page_port}", websocket_url)
            server.should_exit = True
