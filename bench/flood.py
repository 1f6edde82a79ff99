"""One client sends as fast as its socket takes, is closed, comes back at once and does it again: what others notice.

Pairs of people type in rooms of their own, and one pair types in the room that is flooded. Limits are those of
production. Called by `fairness`.
"""

from __future__ import annotations

import asyncio
import gc
import re
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from bench.own import figures, pin_apart
from bench.peers.dialects import Dialect, awareness_entry
from bench.peers.edits import client_ids, typed_line
from bench.peers.frames import client_frame
from bench.peers.ledger import Ledger, percentile
from bench.peers.member import Lost, Member
from bench.peers.plans import many_rooms
from bench.peers.servers import ours
from bench.peers.swarm import Swarm
from bench.peers.usage import exact_cpu_s
from tests.services.server import ServerProcess
from tests.services.tokens import token

PAIRS = 10  # in rooms of their own; one more types in the flooded room
RATE_PER_S = 5.0
WARM_UP_S = 3.0
BETWEEN_S = 1.0  # after each flood, before others are measured without one
CHUNK_BYTES = 64 * 1024
FLOODED = f"room-{PAIRS}"
LINES = 40  # a client that comes back types as another one, so that its updates are news
LINE = 1_500  # updates of each: more than a burst


@dataclass(frozen=True, slots=True)
class Calm:
    """How edits fared in a time: p99 in ms of those in other rooms, and of those in the flooded one."""

    others_ms: float
    same_room_ms: float
    server_share: float  # of its core


@dataclass(slots=True)
class Flood:
    """What one kind of flood did."""

    kind: str
    before: Calm
    during: Calm
    attempts: int = 0
    closes: Counter[str] = field(default_factory=Counter)  # by code, or how else it ended
    taken: int = 0  # of its messages, by the server
    longest_lag_ms: float = 0.0  # of the server's loop


class Flooder:
    """Joins, sends `bodies` over and over until it is closed, and begins again until it is cancelled."""

    def __init__(self, server: ServerProcess, bodies: Sequence[bytes]) -> None:
        self._port = server.ws_port
        self._path = f"/ws/{FLOODED}?token={token(server, 'mallory')}"
        self._bodies = bodies
        self.attempts = 0
        self.closes: Counter[str] = Counter()

    async def run(self) -> None:
        """Flood for ever."""
        while True:
            body = self._bodies[self.attempts % len(self._bodies)]
            self.attempts += 1
            member = Member(Dialect())
            try:
                await member.join(self._port, self._path)
                await self._flood(member, body)
            except Lost as error:
                code = re.match(r"closed with (\d+)|HTTP/1.1 (\d+)", str(error))
                self.closes[code[1] or code[2] if code else str(error)[:40]] += 1
            finally:
                member.socket.close()

    async def _flood(self, member: Member, body: bytes) -> None:
        """Send all the socket takes; look at what came after each chunk. Ends with `Lost`."""
        at = 0
        while True:
            try:
                at = (at + member.socket.send(body[at : at + CHUNK_BYTES])) % len(body)
            except BlockingIOError:
                await asyncio.sleep(0.001)
            except OSError:  # it has hung up; its close frame may still be there to be read
                pass
            member.stream.payloads(member.receive())
            member.answer_controls()
            await asyncio.sleep(0)


def kinds() -> dict[str, list[bytes]]:
    """What is sent, by name: whole frames, small and valid."""
    dialect, client = Dialect(), client_ids(1)[0]

    def cursor(clock: int) -> bytes:
        return client_frame(dialect.awareness(awareness_entry(client, clock, b'{"cursor":1}')))

    lines = [typed_line(one, LINE) for one in client_ids(LINES)]
    return {
        "the same cursor": [cursor(1) * 20_000],
        "cursors": [b"".join(map(cursor, range(first, first + 5_000))) for first in range(1, 1_000_000, 100_000)],
        "updates": [b"".join(client_frame(dialect.update(update)) for update in line) for line in lines],
    }


async def measure(server: ServerProcess, seconds: float) -> list[Flood]:
    """Every kind, each after a time without. Raises `Lost` when somebody cannot join."""
    floods = kinds()
    plan = many_rooms(PAIRS + 1, 2, RATE_PER_S, 0.0, WARM_UP_S + len(floods) * (2 * seconds + BETWEEN_S))
    ledger = Ledger(plan.edits, plan.rooms, range(len(plan.rooms)))
    swarm = Swarm(ours(server), plan.rooms, ledger)
    frames = swarm.frames()
    gc.collect()
    gc.freeze()
    spans: list[tuple[float, float, float]] = []
    found: list[tuple[Flooder, float, float]] = []
    try:
        await swarm.join()
        pin_apart(server)
        playing = asyncio.create_task(swarm.play(frames, time.perf_counter()))
        await asyncio.sleep(WARM_UP_S)
        for bodies in floods.values():
            spans.append(await _span(server, seconds))
            told = await asyncio.to_thread(figures, server)
            flooder = Flooder(server, bodies)
            flooding = asyncio.create_task(flooder.run())
            spans.append(await _span(server, seconds))
            flooding.cancel()
            await asyncio.gather(flooding, return_exceptions=True)
            after = await asyncio.to_thread(figures, server)
            taken = after["collab_messages_total"] - told["collab_messages_total"]
            found.append((flooder, taken, after["collab_loop_lag_max_seconds"]))
            await asyncio.sleep(BETWEEN_S)
        await playing
        await asyncio.sleep(1.0)
        if swarm.lost:
            raise Lost(f"one of the others: {swarm.lost[0]}")
    finally:
        await swarm.leave()
        gc.unfreeze()
    results = []
    for number, (kind, (flooder, taken, lag_s)) in enumerate(zip(floods, found, strict=True)):
        before, during = (_calm(ledger, plan.rooms, span) for span in spans[2 * number : 2 * number + 2])
        results.append(Flood(kind, before, during, flooder.attempts, flooder.closes, int(taken), lag_s * 1e3))
    return results


async def _span(server: ServerProcess, seconds: float) -> tuple[float, float, float]:
    used, began = exact_cpu_s(server.pid), time.perf_counter()
    await asyncio.sleep(seconds)
    ended = time.perf_counter()
    return began, ended, (exact_cpu_s(server.pid) - used) / (ended - began)


def _calm(ledger: Ledger, rooms: Sequence[str], span: tuple[float, float, float]) -> Calm:
    began, ended, share = span
    now = time.perf_counter()
    same: list[float] = []
    others: list[float] = []
    for probe, number in ledger.expected():
        sent_at = ledger.sent_at[number]
        if began <= sent_at < ended:
            seen_at = ledger.seen_at[probe].get(number, now)
            (same if rooms[probe] == FLOODED else others).append(seen_at - sent_at)
    return Calm(percentile(sorted(others), 0.99) * 1e3, percentile(sorted(same), 0.99) * 1e3, share)
