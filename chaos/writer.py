"""The kit's own client: a light y-websocket client on pycrdt, that believes nothing but the bytes it is sent.

Acknowledgements come in one of two ways: as an echo, byte for byte, of what was sent (`?ack=1`), or as a count of
this connection's messages (subprotocol `yjs.ack`). Every second client asks for the one, the others for the other.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus
from itertools import count
from urllib.parse import quote, urlencode

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidStatus, WebSocketException
from websockets.typing import Subprotocol

from chaos import wire
from chaos.author import Author, Sent
from chaos.checker import Replica
from chaos.crew import DEADLINE_S, Mode, Note, Unreachable
from chaos.ledger import Told

LAST_WORDS_S = 0.5
"""How long a connection whose server was killed may take to say so."""
NEVER_LET_IN = {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND}
MADE_UP_FOR_S = 0.1
"""Of the edits that a stall kept from being typed."""
COMES_BACK_AFTER_S = (0.05, 0.3)


@dataclass(frozen=True, slots=True)
class Address:
    """Where documents are, and the token that opens them."""

    url: str
    token: str | None = None

    def of(self, document: str, **parameters: str) -> str:
        """The address of a document."""
        query = urlencode(parameters)
        return f"{self.url.rstrip('/')}/{quote(document)}" + (f"?{query}" if query else "")


class Writer:
    """One client with one copy. `counts`: it asks for counts instead of echoes."""

    def __init__(self, author: Author, address: Address, document: str, *, counts: bool, pause_s: float) -> None:
        self._author = author
        self._pause_s = pause_s
        self._counts = counts
        signed = {} if address.token is None else {"token": address.token}
        if counts:
            offered = ["yjs.ack", *([f"bearer.{address.token}"] if address.token else [])]
            self._url = address.of(document)
            self._protocols = [Subprotocol(name) for name in offered]
        else:
            self._url = address.of(document, ack="1", **signed)
            self._protocols = []
        self._mode = Mode.QUIET
        self._may_connect = asyncio.Event()
        self._may_connect.set()
        self._socket: ClientConnection | None = None
        self._waiting: deque[Sent] = deque()
        self._durable = 0
        self._synced = asyncio.Event()
        self._is_refused = False
        self._trouble = "it does not answer"
        self._tasks = [asyncio.create_task(self._live()), asyncio.create_task(self._type())]

    async def synced(self) -> None:
        """Wait until the copy is level with the server's. Raises Unreachable."""
        try:
            async with asyncio.timeout(DEADLINE_S):
                await self._synced.wait()
        except TimeoutError:
            raise self._unreachable() from None
        if self._is_refused:
            raise self._unreachable()

    def _unreachable(self) -> Unreachable:
        return Unreachable(f"{self._url.partition('?')[0]}: {self._trouble}")

    async def be(self, mode: Mode) -> None:
        """Do that from now on."""
        self._mode = mode
        if mode is not Mode.AWAY:
            self._may_connect.set()
            return
        self._may_connect.clear()
        if (socket := self._socket) is not None:
            with suppress(TimeoutError):
                async with asyncio.timeout(LAST_WORDS_S):
                    await socket.wait_closed()
            await socket.close()
        while self._socket is not None:  # what had come was heard  # noqa: ASYNC110
            await asyncio.sleep(0.001)

    def cut(self) -> None:
        """Break the connection without a word."""
        if self._socket is not None:
            self._socket.transport.abort()

    def replica(self, name: str) -> Replica:
        """The copy."""
        return self._author.replica(name)

    async def close(self) -> None:
        """End. What was not confirmed stays so. Raises what ended it before."""
        for task in self._tasks:
            task.cancel()
        for outcome in await asyncio.gather(*self._tasks, return_exceptions=True):
            if isinstance(outcome, Exception):
                raise outcome

    async def _type(self) -> None:
        due = time.monotonic()
        while True:
            due = max(due + self._pause_s, time.monotonic() - MADE_UP_FOR_S)
            await asyncio.sleep(due - time.monotonic())
            if self._mode is Mode.TYPING:
                await self._send(self._author.edit())

    async def _live(self) -> None:
        while True:
            await self._may_connect.wait()
            try:
                async with connect(
                    self._url,
                    subprotocols=self._protocols or None,
                    max_size=None,
                    compression=None,
                    ping_interval=None,
                    close_timeout=1,
                    proxy=None,
                ) as socket:
                    await self._talk(socket)
                self._trouble = f"closed with {socket.close_code} {socket.close_reason}"
            except InvalidStatus as error:
                self._trouble = str(error)
                if error.response.status_code in NEVER_LET_IN:
                    self._is_refused = True
                    self._synced.set()
                    return
            except (OSError, WebSocketException) as error:  # TimeoutError is an OSError
                self._trouble = str(error) or type(error).__name__
            finally:
                self._socket = None
            self._synced.clear()
            await asyncio.sleep(random.uniform(*COMES_BACK_AFTER_S))

    async def _talk(self, socket: ClientConnection) -> None:
        if not self._may_connect.is_set():
            return
        self._waiting.clear()
        self._durable = 0
        self._socket = socket
        await socket.send(wire.frame(wire.SYNC_STEP_1, self._author.hello()))
        async for message in socket:
            if isinstance(message, bytes):
                await self._hear(message)

    async def _send(self, sent: Sent) -> None:
        if (socket := self._socket) is None:
            return
        self._waiting.append(sent)
        with suppress(WebSocketException):
            await socket.send(wire.frame(sent.step, sent.update))

    async def _hear(self, message: bytes) -> None:
        if self._counts and (durable := wire.read_durable(message)) is not None:
            self._confirm(durable - self._durable)
            self._durable = durable
            return
        match wire.read_sync(message):
            case (wire.SYNC_STEP_1, state_vector):
                await self._send(self._author.answer(state_vector))
            case (wire.SYNC_STEP_2, update):
                self._author.take(update)
                self._synced.set()
            case (wire.UPDATE, update):
                if not self._is_echo(update):
                    self._author.take(update)

    def _confirm(self, number: int) -> None:
        """The next so many messages are durable. Raises IndexError for more than were sent."""
        for _ in range(number):
            self._author.confirmed(self._waiting.popleft())

    def _is_echo(self, update: bytes) -> bool:
        """Whether these are bytes we sent. Echoes come in order, so what stands before was passed over: no echo of it
        will come (a large message comes back in pieces), and it is not taken for durable."""
        if self._counts:
            return False
        for place, sent in enumerate(self._waiting):
            if sent.update == update:
                self._author.confirmed(sent)
                for _ in range(place + 1):
                    self._waiting.popleft()
                return True
        return False


class PythonCrew:
    """Clients of this module, in our own event loop."""

    def __init__(self, writers: tuple[int, ...], address: Address, seed: int, edits_per_s: float, note: Note) -> None:
        self.writers = writers
        self._address = address
        self._edits_per_s = edits_per_s
        self._note = note
        self._chances = {number: random.Random(f"{seed}-{number}") for number in writers}
        self._numbers = {number: count(1) for number in writers}
        self._open: dict[int, Writer] = {}

    async def open(self, document: str) -> None:
        """Leave, and come to another document, with new copies, quiet. Raises Unreachable."""
        await self.close()
        self._open = {number: self._writer(number, document) for number in self.writers}
        await asyncio.gather(*(writer.synced() for writer in self._open.values()))

    def _writer(self, number: int, document: str) -> Writer:
        def note(told: Told) -> None:
            self._note(number, told)

        author = Author(number, self._numbers[number], self._chances[number], note)
        return Writer(author, self._address, document, counts=number % 2 == 1, pause_s=1 / self._edits_per_s)

    async def be(self, mode: Mode) -> None:
        """Do that from now on."""
        await asyncio.gather(*(writer.be(mode) for writer in self._open.values()))

    async def cut(self, writer: int) -> None:
        """Break that writer's connection without a word."""
        self._open[writer].cut()

    async def replicas(self) -> list[Replica]:
        """Every writer's copy."""
        return [writer.replica(f"writer {number} (Python)") for number, writer in self._open.items()]

    async def read(self, document: str) -> Replica:
        """The copy of a new client that has come for it. Raises Unreachable."""
        return await read(self._address, document)

    async def close(self) -> None:
        """Leave for good. Idempotent."""
        leaving, self._open = self._open, {}
        await asyncio.gather(*(writer.close() for writer in leaving.values()))


async def read(address: Address, document: str) -> Replica:
    """The copy of a new client that has come for it. Raises Unreachable."""
    reader = Writer(Author(0, count(), random.Random(), lambda _told: None), address, document, counts=False, pause_s=1)
    try:
        await reader.synced()
        return reader.replica("a new client")
    finally:
        await reader.close()
