"""A reader that stops reading, in a room where others write: what it costs the server, the others, and how it recovers.

The same room is played twice, on servers of their own: with the reader and without, since a document that is typed into
grows by itself. Called by `fairness`.
"""

from __future__ import annotations

import asyncio
import gc
import socket
import time
from dataclasses import dataclass, field

import uvloop
from pycrdt import Doc, Text

from bench.own import UNLIMITED, figures, own_server, pin_apart
from bench.peers.dialects import Dialect, Heard
from bench.peers.edits import LETTERS, ROOT, TYPED, Edit, client_ids, recorded
from bench.peers.ledger import Ledger, percentile
from bench.peers.member import Lost, Member
from bench.peers.servers import Running, ours
from bench.peers.swarm import Swarm
from bench.peers.usage import rss_bytes
from collab_server.update_reading import read_update
from tests.services.server import ServerProcess

ROOM = "room"
WRITERS, READERS = 10, 5
RATE_PER_S = 50.0  # of each writer
WARM_UP_S = 5.0
AFTERWARDS_S = 5.0  # the writers go on while the reader reads again
LEVEL_TIMEOUT_S = 20.0
SENT_BYTES = 7_000_000
"""Typed during the stall: the kernel takes up to 4 MB for who does not read, the server 1 MiB, and some is missed."""

RECEIVE_BUFFER_BYTES, NORMAL_BUFFER_BYTES = 4_096, 2**20
CATCH_UP_UPDATES = 200  # a tick of 25 ms gathers a dozen


@dataclass(slots=True)
class Stalled:
    """One pass: with the reader, or without."""

    p99_ms: float
    p50_ms: float
    rss_growth_mb: float
    unsent_mb: float = 0.0  # what the server holds for the reader at the end of the stall
    fell_behind: int = 0
    catch_ups: int = 0
    backlog_frames: int = 0  # read before the diff
    diffs: int = 0
    news_frames: int = 0  # read after it
    diff_bytes: int = 0
    level_after_s: float = 0.0  # from reading again to having the diff
    is_level: bool | None = None  # its text is that of the others, at the end
    lost: list[str] = field(default_factory=list)


class Reader:
    """Reads what comes into a document of its own; `stop` leaves the rest to the socket."""

    def __init__(self, server: Running, *, receive_buffer_bytes: int | None = None) -> None:
        self._server = server
        self.member = Member(Dialect())
        if receive_buffer_bytes is not None:  # before it connects: the window is agreed upon then
            self.member.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer_bytes)
        self.heard: list[tuple[float, bytes]] = []
        self.lost: str | None = None

    async def join(self) -> None:
        """Take a seat and begin to read."""
        for payload in await self.member.join(self._server.port, self._server.path(ROOM)):
            self._note(payload)
        self.go_on()

    def go_on(self) -> None:
        """Read whatever comes."""
        asyncio.get_running_loop().add_reader(self.member.socket.fileno(), self._read)

    def stop(self) -> None:
        """Leave what comes where it is."""
        asyncio.get_running_loop().remove_reader(self.member.socket.fileno())

    def _read(self) -> None:
        try:
            for payload in self.member.stream.payloads(self.member.receive()):
                self._note(payload)
            self.member.answer_controls()
        except Lost as error:
            self.lost = str(error)
            self.stop()

    def _note(self, payload: bytes) -> None:
        heard, body = Dialect().read(payload)
        if heard in {Heard.UPDATE, Heard.ANSWER}:
            self.heard.append((time.perf_counter(), body))

    def text(self) -> str:
        """What it has, put together."""
        doc: Doc[Text] = Doc()
        text = doc.get(ROOT, type=Text)
        with doc.transaction():
            for _at, body in self.heard:
                doc.apply_update(body)
        return str(text)


def script(seconds: float, piece_chars: int) -> list[Edit]:
    """Writers who each put a new piece in the place of their last one.

    So the document stays small, and what the server's memory grows by is what it keeps for the reader.
    """
    edits: list[Edit] = []
    piece = (LETTERS * (piece_chars // len(LETTERS) + 1))[:piece_chars]
    for seat, client in enumerate(client_ids(WRITERS)):
        doc, text, updates = recorded(client)
        for number in range(int(RATE_PER_S * seconds)):
            with doc.transaction():
                text.insert(len(text), piece)  # at the front it would be looked for among everybody's old ones
                if number:
                    del text[:piece_chars]
            due_s = (number + seat / WRITERS) / RATE_PER_S
            edits.append(Edit(due_s, seat, updates[-1], client, number * piece_chars, TYPED))
    return sorted(edits, key=lambda edit: edit.due_s)


async def measure(server: ServerProcess, stall_s: float, *, stalled: bool) -> Stalled:
    """One pass on a fresh server. Raises `Lost` when somebody cannot join."""
    piece_chars = max(int(SENT_BYTES / (WRITERS * RATE_PER_S * stall_s)), 1)
    edits = script(WARM_UP_S + stall_s + AFTERWARDS_S, piece_chars)
    rooms = [ROOM] * (WRITERS + READERS)
    ledger = Ledger(edits, rooms, range(WRITERS, WRITERS + READERS))
    running = ours(server)
    swarm = Swarm(running, rooms, ledger)
    frames = swarm.frames()
    gc.collect()
    gc.freeze()
    witness, reader = Reader(running), Reader(running, receive_buffer_bytes=RECEIVE_BUFFER_BYTES)
    try:
        await swarm.join()
        await witness.join()
        if stalled:
            await reader.join()
        pin_apart(server)
        start = time.perf_counter() + 0.1
        playing = asyncio.create_task(swarm.play(frames, start))
        await asyncio.sleep(start + WARM_UP_S - time.perf_counter())
        if stalled:
            reader.stop()
        rss, began = rss_bytes(server.pid), time.perf_counter()
        await asyncio.sleep(start + WARM_UP_S + stall_s - time.perf_counter())
        growth, ended = rss_bytes(server.pid) - rss, time.perf_counter()
        told = await asyncio.to_thread(figures, server)
        if stalled:
            # A tiny window opens in steps of 0.2 s, which would be the speed of the reader and not of the server.
            reader.member.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, NORMAL_BUFFER_BYTES)
            reader.go_on()
        await playing
        await _until_level(witness, reader if stalled else witness)
        delays = sorted(delay.seconds for delay in ledger.delays(began, ended, time.perf_counter()))
        found = Stalled(percentile(delays, 0.99) * 1e3, percentile(delays, 0.5) * 1e3, growth / 2**20, lost=swarm.lost)
        if stalled:
            found.unsent_mb = told["collab_outbox_bytes"] / 2**20
            _judge(found, witness, reader, ended, piece_chars)
            told = await asyncio.to_thread(figures, server)
            found.fell_behind = int(told["collab_fell_behind_total"])
            found.catch_ups = int(told["collab_catch_ups_total"])
        return found
    finally:
        await swarm.leave()
        for one in (witness, reader):
            if one.member.socket.fileno() >= 0:
                one.stop()
                one.member.close()
        gc.unfreeze()


async def _until_level(witness: Reader, reader: Reader) -> None:
    """Wait until nothing more comes to either, or for so long that it will not."""
    deadline, before = time.perf_counter() + LEVEL_TIMEOUT_S, (-1, -1)
    while time.perf_counter() < deadline:
        now = (witness.member.bytes_received, reader.member.bytes_received)
        if now == before:
            return
        before = now
        await asyncio.sleep(1.0)


def _judge(found: Stalled, witness: Reader, reader: Reader, went_on_at: float, piece_chars: int) -> None:
    seen_before = [at for at, _body in reader.heard if at < went_on_at]
    after = reader.heard[len(seen_before) :]
    diffs = [number for number, (_at, body) in enumerate(after) if _pieces_in(body, piece_chars) >= CATCH_UP_UPDATES]
    found.diffs = len(diffs)
    found.backlog_frames = diffs[0] if diffs else len(after)
    if diffs:
        found.news_frames = len(after) - diffs[-1] - 1
        found.diff_bytes = len(after[diffs[0]][1])
        found.level_after_s = after[diffs[0]][0] - went_on_at
    found.is_level = reader.text() == witness.text()
    if reader.lost:
        found.lost.append(f"the stalled reader: {reader.lost}")


def _pieces_in(body: bytes, piece_chars: int) -> float:
    structs, _deletes = read_update(body)
    return sum(struct.length for struct in structs) / piece_chars


def measure_pair(stall_s: float) -> tuple[Stalled, Stalled]:
    """A pass without the stalled reader, and one with it."""
    found = []
    for stalled in (False, True):
        with own_server(**UNLIMITED) as server:
            pin_apart(server)
            found.append(uvloop.run(measure(server, stall_s, stalled=stalled)))
    return found[0], found[1]
