"""A Yjs client in Python for tests that must see and send exact bytes: stock clients hide both.

Keeps a `pycrdt` document in step with its room and remembers everything it was sent. Uses the server's own codec,
which has tests of its own against real yjs.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import TracebackType
from typing import Any

from pycrdt import Doc, Text
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from collab_server.wire import yjs
from collab_server.wire.awareness import AwarenessEntry, AwarenessLimits
from collab_server.wire.messages import Awareness, Message, PermissionDenied, SyncStep1, SyncStep2, Update

DEADLINE_S = 20.0


class Client:
    """One connection to one document. `async with` opens it and says hello; `doc` follows the room.

    `hello=False` only opens the socket, for tests that send their own bytes from the start.
    """

    def __init__(
        self, websocket_url: str, document: str, *, token: str | None = None, hello: bool = True, **options: Any
    ) -> None:
        query = f"?token={token}" if token else ""
        self._url = f"{websocket_url}/{document}{query}"
        self._options = options
        self._hello = hello
        self._changed = asyncio.Condition()
        self._reader: asyncio.Task[None] | None = None
        self.doc: Doc[Any] = Doc()
        self.text: Text = self.doc.get("content", type=Text)
        self.received: list[Message] = []
        self.awareness: dict[int, AwarenessEntry] = {}
        self.synced = False
        self.denied: list[str] = []
        self.closed: tuple[int, str] | None = None
        self.socket: ClientConnection

    async def __aenter__(self) -> Client:
        self.socket = await connect(self._url, max_size=None, open_timeout=DEADLINE_S, proxy=None, **self._options)
        self._reader = asyncio.create_task(self._read())
        if self._hello:
            await self.send(SyncStep1(self.doc.get_state()))
            await self.until(lambda: self.synced or self.closed is not None)
        return self

    async def __aexit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        await self.socket.close()
        if self._reader is not None:
            await self._reader

    async def send(self, message: Message) -> None:
        """Send one message."""
        await self.socket.send(yjs.encode(message))

    async def send_bytes(self, payload: bytes) -> None:
        """Send any binary payload."""
        await self.socket.send(payload)

    async def type(self, text: str, at: int | None = None) -> bytes:
        """Insert `text` and send the update; returns its bytes."""
        before = self.doc.get_state()
        self.text.insert(len(self.text) if at is None else at, text)
        update = self.doc.get_update(before)
        await self.send(Update(update))
        return update

    async def until(self, fact: Callable[[], bool], deadline_s: float = DEADLINE_S) -> None:
        """Wait until `fact` holds; it is looked at after everything that arrives."""
        async with asyncio.timeout(deadline_s), self._changed:
            await self._changed.wait_for(fact)

    async def until_text(self, text: str) -> None:
        """Wait until the document reads `text`."""
        await self.until(lambda: str(self.text) == text)

    async def until_closed(self) -> tuple[int, str]:
        """Wait for the end of the connection: its close code and reason."""
        await self.until(lambda: self.closed is not None)
        assert self.closed is not None
        return self.closed

    async def _read(self) -> None:
        try:
            async for frame in self.socket:
                assert isinstance(frame, bytes), "the server must never send text"
                await self._receive(yjs.decode(frame, AwarenessLimits(max_entries=100_000, max_state_bytes=1_000_000)))
        except ConnectionClosed:
            pass
        finally:
            async with self._changed:
                self.closed = (self.socket.close_code or 1006, self.socket.close_reason or "")
                self._changed.notify_all()

    async def _receive(self, message: Message) -> None:
        async with self._changed:
            self.received.append(message)
            match message:
                case SyncStep1(state_vector) if self._hello:
                    await self.send(SyncStep2(self.doc.get_update(state_vector)))
                case SyncStep2(update):
                    self.doc.apply_update(update)
                    self.synced = True
                case Update(update):
                    self.doc.apply_update(update)
                case Awareness(entries):
                    self.awareness |= {entry.client_id: entry for entry in entries}
                case PermissionDenied(reason):
                    self.denied.append(reason)
                case _:
                    pass
            self._changed.notify_all()
