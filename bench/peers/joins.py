"""The join storm: many members fetch a long document one after the other while a typist and a watcher carry on.

What is asked is what it costs a join, and how long those who are there already wait for a keystroke meanwhile: in the
same room, and in a room that has nothing to do with it. Called by `__main__`.
"""

from __future__ import annotations

import asyncio
import time

from bench.peers.dialects import Dialect, Heard
from bench.peers.frames import client_frame
from bench.peers.ledger import Ledger, percentile
from bench.peers.load import LONGEST_RUN_S, Usage
from bench.peers.measured import Measured
from bench.peers.member import Lost, Member
from bench.peers.plans import Plan
from bench.peers.servers import Running
from bench.peers.swarm import Swarm

JOIN_AT_ONCE = 20
AFTER_S = 1.0  # the watchers are listened to this long after the last join


async def run(server: Running, scenario: str, plan: Plan) -> Measured:
    """Play the storm of `plan` against `server`. Raises `Lost` or `TimeoutError` when it cannot be done at all."""
    ledger = Ledger(plan.edits, plan.rooms, plan.probes)
    swarm = Swarm(server, plan.rooms, ledger)
    frames = swarm.frames()
    try:
        async with asyncio.timeout(LONGEST_RUN_S):
            writer = await _fill(server, plan)
            server.pin_beside()
            await swarm.join()
            writer.close()  # not before: a server without storage forgets a document that nobody looks at
            start = time.perf_counter()
            playing = asyncio.create_task(swarm.play(frames, start))
            await asyncio.sleep(plan.warm_up_s)
            before = Usage.now(server)
            took = await _storm(server, plan)
            after = Usage.now(server)
            await asyncio.sleep(AFTER_S)
            playing.cancel()
    finally:
        await swarm.leave()
    delays = ledger.delays(before.at, after.at, time.perf_counter())
    ordered = sorted(delay.seconds for delay in delays)
    return Measured(
        scenario,
        server.name,
        p50_ms=percentile(ordered, 0.50) * 1e3,
        p95_ms=percentile(ordered, 0.95) * 1e3,
        p99_ms=percentile(ordered, 0.99) * 1e3,
        rss_mb=server.rss_bytes() / 2**20,
        connects_per_s=plan.joins / (after.at - before.at),
        join_cpu_ms=(after.server_s - before.server_s) / plan.joins * 1e3,
        join_p50_ms=percentile(took, 0.50) * 1e3,
        join_p99_ms=percentile(took, 0.99) * 1e3,
        stall_same_room_ms=_longest(ledger, 1, before, after) * 1e3,
        stall_other_room_ms=_longest(ledger, 3, before, after) * 1e3,
        late_p99_ms=percentile(sorted(swarm.lateness_s), 0.99) * 1e3,
        lost=len(swarm.lost),
        **after.shares(before),
    )


def _longest(ledger: Ledger, probe: int, before: Usage, after: Usage) -> float:
    """The longest that one watcher waited for a keystroke of its room."""
    seen_at = ledger.seen_at[probe]
    writer = probe - 1
    waits = [
        seen_at.get(number, time.perf_counter()) - sent
        for number, (edit, sent) in enumerate(zip(ledger.edits, ledger.sent_at, strict=True))
        if edit.member == writer and before.at <= sent < after.at
    ]
    return max(waits, default=0.0)


async def _fill(server: Running, plan: Plan) -> Member:
    """One member, who is returned, writes the document; others, who get all of it on joining, say that it is there."""
    room = plan.rooms[0]
    dialect = server.dialect(room)
    writer = Member(dialect)
    await writer.join(server.port, server.path(room))
    for update in plan.prefill:
        await _send_all(writer, client_frame(dialect.update(update)))
    while await _join_once(server, room, dialect) < _wanted_bytes(plan):  # noqa: ASYNC110 - the server says so
        await asyncio.sleep(0.1)
    return writer


async def _send_all(member: Member, frame: bytes) -> None:
    member.send(frame)
    while member.unsent_bytes:
        await asyncio.sleep(0.001)
        member.flush()
    member.receive()  # what is echoed must not fill the socket


def _wanted_bytes(plan: Plan) -> int:
    return int(sum(map(len, plan.prefill)) * 0.9)


async def _join_once(server: Running, room: str, dialect: Dialect) -> int:
    """Join, and leave; how long the answer was."""
    member = Member(dialect)
    payloads = await member.join(server.port, server.path(room))
    member.close()
    return max(len(body) for heard, body in map(dialect.read, payloads) if heard is Heard.ANSWER)


async def _storm(server: Running, plan: Plan) -> list[float]:
    """`plan.joins` joins, some at a time; the sorted seconds each took."""
    room = plan.rooms[0]
    doors = asyncio.Semaphore(JOIN_AT_ONCE)
    took: list[float] = []

    async def join() -> None:
        async with doors:
            member = Member(server.dialect(room))
            try:
                await member.join(server.port, server.path(room))
            finally:
                member.close()
            if member.bytes_received < _wanted_bytes(plan):
                raise Lost(f"joined with {member.bytes_received} bytes of the document only")
            took.append(member.joined_after_s)

    async with asyncio.TaskGroup() as joining:
        for _ in range(plan.joins):
            joining.create_task(join())
    return sorted(took)
