"""One who attacks over the wire: sends an update, waits for what becomes of it, and comes back under the next name.

A refused update costs the connection, so what can be sent a second is mostly connects: the opening is one write,
nothing is synchronised, and what the room tells is skipped unread. Never two updates at once: a verdict is about one.
Called by `siege_room`.
"""

from __future__ import annotations

import asyncio
import socket
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from enum import StrEnum

from bench.peers.frames import CLOSE, PING, FrameStream, client_frame, pong
from collab_server.errors import Close
from collab_server.wire import yjs
from collab_server.wire.messages import Update
from tests.services.raw_socket import opening

PONG = 0x8A
STILL_HERE = client_frame(b"still here?", PING)
PATIENCE_S = 60.0
TRIES = 400  # connects for one update: a bar, a rebuild or a restart of the server is between two of them
RETRY_S = 0.05


class Fate(StrEnum):
    """What became of an update. `KEPT` may have been taken, or had a gap; `LOST` reached no verdict."""

    KEPT = "kept"
    REFUSED = "refused"
    LOST = "lost"


class Gone(Exception):
    """The connection is over; `code` as in its close frame, 0 where none came."""

    def __init__(self, code: int) -> None:
        super().__init__(f"closed with {code}")
        self.code = code


class Seat:
    """An open connection to a document that has been sent nothing yet. Raises `Gone` when it is closed."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self._stream = FrameStream()

    @classmethod
    async def take(cls, port: int, document: str, token: str) -> Seat:
        """Connect and upgrade. Raises `OSError`, and `Gone` with an HTTP status."""
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        writer.write(opening(document, token=token))
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except asyncio.IncompleteReadError:
            head = b""
        if not head.startswith(b"HTTP/1.1 101"):
            writer.transport.abort()
            raise Gone(int(head[9:12] or 0))
        return cls(reader, writer)

    async def offer(self, update: bytes) -> None:
        """Send, and return once the server has acted on it and goes on with us."""
        self._writer.write(client_frame(yjs.encode(Update(update))) + STILL_HERE)
        while True:
            try:
                received = await self._reader.read(65536)
            except OSError:
                received = b""
            if not received:
                raise Gone(0)
            self._stream.count(received)
            controls, self._stream.controls = self._stream.controls, []
            for first_byte, payload in controls:
                if first_byte == CLOSE:
                    raise Gone(int.from_bytes(payload[:2], "big"))
                if first_byte == PING:
                    self._writer.write(pong(payload))
            if any(first_byte == PONG for first_byte, _payload in controls):
                return

    def leave(self) -> None:
        """Hang up without a word."""
        self._writer.transport.abort()


class Attacker:
    """Sends to one document under one of `tokens` after the other. `closes` counts how connections ended, by code."""

    def __init__(self, port: int, document: str, tokens: Iterator[str], closes: Counter[int]) -> None:
        self._port, self._document, self._tokens = port, document, tokens
        self._token = next(tokens)
        self._closes = closes
        self._seat: Seat | None = None

    async def offer(self, update: bytes) -> Fate:
        """Send `update`; again on another connection when this one ended for another reason."""
        for _ in range(TRIES):
            try:
                async with asyncio.timeout(PATIENCE_S):
                    self._seat = self._seat or await Seat.take(self._port, self._document, self._token)
                    await self._seat.offer(update)
                    return Fate.KEPT
            except Gone as gone:
                self.leave()
                self._closes[gone.code] += 1
                if gone.code in {Close.UPDATE_REFUSED.code, Close.MALFORMED.code}:
                    return Fate.REFUSED
                if gone.code == 400:  # barred: this name broke the room's copy
                    self._token = next(self._tokens)
                    continue
                if gone.code == 0:  # perhaps the process died of it: whoever sends it again would end the next one
                    return Fate.LOST
            except OSError:
                self.leave()
            await asyncio.sleep(RETRY_S)
        return Fate.LOST

    def leave(self) -> None:
        """Hang up, if connected."""
        if self._seat is not None:
            with suppress(OSError):
                self._seat.leave()
            self._seat = None
