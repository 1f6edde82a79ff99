"""A bad network before a TCP server of this machine, told by the bytes of Redis which of them are messages of the bus.

For every connection through it: bytes take `latency_s`, some as much again and more, as if sent twice (`resent`);
between `hold` and `release` they wait, as in a partition, and then they arrive. `cut` ends every connection, `refuse`
lets nobody in, `target_port` may change for a failover. Of what Redis pushes to subscribers, and of nothing else,
shares are lost, doubled, late (behind later ones) or have one bit changed. All of it may be set from any thread: the
relay lives in one of its own, so that tests with loops of their own can share it.
"""

from __future__ import annotations

import asyncio
import random
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress

CHUNK_BYTES = 65_536
MESSAGE = b"*3\r\n$7\r\nmessage\r\n"
LATE_S = 0.5
PATIENCE_S = 10.0


class BusFaults:
    """See the module. `started()` it, and `stop()` it at the end; `done` counts what was done to messages."""

    def __init__(self, target_port: int, seed: int = 1, *, is_redis: bool = True) -> None:
        self.target_port = target_port
        self._answers = replies if is_redis else as_they_come
        self.port = 0
        self.done: Counter[str] = Counter()
        self.latency_s = self.resent = 0.0
        self.lost = self.doubled = self.late = self.corrupted = 0.0
        self._chance = random.Random(seed)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="bus-faults", daemon=True)
        self._flows = asyncio.Event()
        self._flows.set()
        self._server: asyncio.Server | None = None
        self._carrying: set[asyncio.Task[None]] = set()
        self._open: set[asyncio.StreamWriter] = set()

    def started(self) -> BusFaults:
        """Listen on a free port of the loopback."""
        self._thread.start()
        self._do(self._listen())
        return self

    def stop(self) -> None:
        """End everything."""
        self.refuse()
        self._do(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(PATIENCE_S)
        self._loop.close()

    def be_well(self) -> None:
        """No fault at all, as at first."""
        self.latency_s = self.resent = self.lost = self.doubled = self.late = self.corrupted = 0.0
        self.release()
        self.accept()

    def hold(self) -> None:
        """Carry nothing, on these connections and on new ones, until `release`."""
        self._loop.call_soon_threadsafe(self._flows.clear)

    def release(self) -> None:
        """Carry again, first what waited."""
        self._loop.call_soon_threadsafe(self._flows.set)

    def cut(self) -> None:
        """End every connection there is."""
        self._loop.call_soon_threadsafe(self._close_all)

    def refuse(self) -> None:
        """Nobody gets in, and who was in is out."""
        self._do(self._stop_listening())
        self.cut()

    def accept(self) -> None:
        """Let them in again, on the same port."""
        self._do(self._listen())

    def _do(self, coroutine: object) -> None:
        asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(PATIENCE_S)  # type: ignore[arg-type]

    # In the relay's own loop

    async def _listen(self) -> None:
        if self._server is None:
            self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port)
            self.port = self._server.sockets[0].getsockname()[1]

    async def _stop_listening(self) -> None:
        server, self._server = self._server, None
        if server is not None:
            server.close()

    async def _end(self) -> None:
        for task in self._carrying:
            task.cancel()
        await asyncio.gather(*self._carrying, return_exceptions=True)
        self._close_all()
        await asyncio.gather(*(writer.wait_closed() for writer in self._open), return_exceptions=True)

    def _close_all(self) -> None:
        for writer in self._open:
            writer.transport.abort()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self.target_port)
        except OSError:
            writer.close()
            return
        self._open |= {writer, far_writer}
        for source, sink, pieces in ((reader, far_writer, as_they_come), (far_reader, writer, self._answers)):
            way = Way(self, sink)
            self._start(way.send())
            self._start(self._carry(source, way, pieces))

    def _start(self, coroutine: object) -> None:
        task: asyncio.Task[None] = self._loop.create_task(coroutine)  # type: ignore[arg-type]
        self._carrying.add(task)
        task.add_done_callback(self._carrying.discard)

    async def _carry(
        self, source: asyncio.StreamReader, way: Way, pieces: Callable[[bytearray], Iterator[bytes]]
    ) -> None:
        unread = bytearray()
        with suppress(OSError):
            while chunk := await source.read(CHUNK_BYTES):
                unread += chunk
                for piece in pieces(unread):
                    self._pass_on(piece, way)
        way.put(b"")

    def _pass_on(self, piece: bytes, way: Way) -> None:
        if not piece.startswith(MESSAGE):
            way.put(piece)
            return
        if self._happens("corrupted", self.corrupted):
            piece = self._changed(piece)
        if self._happens("lost", self.lost):
            return
        if self._happens("doubled", self.doubled):
            way.put(piece)
        if self._happens("late", self.late):
            self._loop.call_later(self._chance.random() * LATE_S, way.put, piece)
        else:
            way.put(piece)

    def _happens(self, what: str, share: float) -> bool:
        happens = self._chance.random() < share
        self.done[what] += happens
        return happens

    def _changed(self, piece: bytes) -> bytes:
        """With one bit of its content another one; its length stays."""
        head = piece.index(b"\r\n", piece.index(b"\r\n", piece.index(b"\r\n", len(MESSAGE)) + 2) + 2) + 2
        at = self._chance.randrange(head, len(piece) - 2)
        return piece[:at] + bytes((piece[at] ^ 1 << self._chance.randrange(8),)) + piece[at + 1 :]

    @property
    def flows(self) -> asyncio.Event:
        """Set while bytes are carried."""
        return self._flows

    def takes_s(self) -> float:
        """How long the next piece is under way."""
        return self.latency_s * (1 + (1 + self._chance.random()) * (self._chance.random() < self.resent))


class Way:
    """One direction of one connection: keeps the order of what was put in, however long each piece takes."""

    def __init__(self, faults: BusFaults, sink: asyncio.StreamWriter) -> None:
        self._faults = faults
        self._sink = sink
        self._pieces: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()
        self._loop = asyncio.get_running_loop()

    def put(self, piece: bytes) -> None:
        """Send `piece` off; an empty one is the end."""
        self._pieces.put_nowait((self._loop.time() + self._faults.takes_s(), piece))

    async def send(self) -> None:
        """Let all arrive until the end."""
        with suppress(OSError):
            while True:
                due, piece = await self._pieces.get()
                if (early_s := due - self._loop.time()) > 0:
                    await asyncio.sleep(early_s)
                await self._faults.flows.wait()
                if not piece:
                    break
                self._sink.write(piece)
                await self._sink.drain()
        self._sink.close()


def as_they_come(unread: bytearray) -> Iterator[bytes]:
    """All there is as one piece."""
    piece = bytes(unread)
    unread.clear()
    yield piece


def replies(unread: bytearray) -> Iterator[bytes]:
    """Whole replies of Redis (RESP2), taken from the front of `unread`; what is none goes on as it is."""
    if unread[:1] not in (b"*", b"+", b"-", b":", b"$", b""):
        yield from as_they_come(unread)
        return
    while (end := _end_of_reply(unread, 0)) is not None:
        yield bytes(unread[:end])
        del unread[:end]


def _end_of_reply(unread: bytearray, at: int) -> int | None:
    line_end = unread.find(b"\r\n", at)
    if line_end < 0:
        return None
    kind, rest, after = unread[at : at + 1], unread[at + 1 : line_end], line_end + 2
    if kind == b"$":
        length = int(rest)
        after += length + 2 if length >= 0 else 0
        return after if after <= len(unread) else None
    if kind == b"*":
        for _ in range(max(0, int(rest))):
            end = _end_of_reply(unread, after)
            if end is None:
                return None
            after = end
    return after
