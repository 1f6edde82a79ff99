"""One run: everybody joins, the script is played, and what server and probes did in the measured time is counted.

Called by `__main__` for every scenario but the join storm, and by the smoke test.
"""

from __future__ import annotations

import asyncio
import gc
import os
import time
from dataclasses import dataclass

from bench.peers.ledger import Ledger, percentile
from bench.peers.measured import Measured
from bench.peers.plans import Plan
from bench.peers.servers import Running
from bench.peers.swarm import Swarm
from bench.peers.usage import core_busy_s, cpu_s

SETTLE_S = 4.0
"""How long probes are listened to after the last edit: what comes later counts as not seen."""

QUIET_S = 2.0  # between the last join and the memory of an idle server
LONGEST_RUN_S = 180.0


@dataclass(frozen=True, slots=True)
class Usage:
    """What has been used until a moment."""

    at: float
    server_s: float
    beside_s: dict[int, float]
    generator_s: float
    server_core_s: float
    generator_core_s: float

    @classmethod
    def now(cls, server: Running) -> Usage:
        """Until now."""
        beside = {pid: cpu_s(pid) for pid in server.beside()}
        own = os.times()
        cores_s = [core_busy_s(core) for core in server.cores] if server.cores else [0.0, 0.0]
        return cls(time.perf_counter(), server.cpu_s(), beside, own.user + own.system, *cores_s)

    def shares(self, before: Usage) -> dict[str, float]:
        """Of a core, since `before`: the fields of `Measured` that say so."""
        seconds = self.at - before.at
        beside = sum(used - before.beside_s.get(pid, 0.0) for pid, used in self.beside_s.items())
        server, generator = self.server_s - before.server_s, self.generator_s - before.generator_s
        on_first, on_second = self.server_core_s - before.server_core_s, self.generator_core_s - before.generator_core_s
        return {
            "server_share": server / seconds,
            "beside_share": beside / seconds,
            "generator_share": generator / seconds,
            "others_on_server_core": max(on_first - server, 0.0) / seconds,
            "others_on_generator_core": max(on_second - generator - beside, 0.0) / seconds,
        }


async def run(server: Running, scenario: str, plan: Plan) -> Measured:
    """Play `plan` against `server`. Raises `Lost` or `TimeoutError` when it cannot be done at all."""
    ledger = Ledger(plan.edits, plan.rooms, plan.probes)
    swarm = Swarm(server, plan.rooms, ledger, plan.tasks)
    frames = swarm.frames()
    gc.collect()
    gc.freeze()  # the script is not looked through while the clock runs
    try:
        async with asyncio.timeout(LONGEST_RUN_S):
            return await _run(server, scenario, plan, swarm, ledger, frames)
    finally:
        await swarm.leave()
        gc.unfreeze()


async def _run(
    server: Running, scenario: str, plan: Plan, swarm: Swarm, ledger: Ledger, frames: list[bytes]
) -> Measured:
    empty_bytes = await _warm(server)
    joining_s = await swarm.join()
    if not plan.edits:
        await asyncio.sleep(QUIET_S)
    full_bytes = server.rss_bytes()
    start = time.perf_counter() + 0.1
    playing = asyncio.create_task(swarm.play(frames, start))
    await asyncio.sleep(start + plan.warm_up_s - time.perf_counter())
    before, frames_before = Usage.now(server), swarm.frames_received
    await asyncio.sleep(plan.measured_s)
    after, received = Usage.now(server), swarm.frames_received - frames_before
    await playing
    await _settle(ledger)
    members = len(plan.rooms)
    common = {
        "rss_mb": server.rss_bytes() / 2**20,
        "connects_per_s": members / joining_s,
        "late_p99_ms": percentile(sorted(swarm.lateness_s), 0.99) * 1e3,
        "lost": len(swarm.lost),
        **after.shares(before),
    }
    used_s = after.server_s - before.server_s
    if not plan.edits:
        return Measured(
            scenario,
            server.name,
            rss_kb_connection=(full_bytes - empty_bytes) / members / 1024,
            idle_cpu_us_connection_s=used_s / members / (after.at - before.at) * 1e6,
            **common,
        )
    return Measured(scenario, server.name, **common, **_latencies(plan, ledger, before, after, received))


async def _warm(server: Running) -> int:
    """What the server holds in memory once it has had a member: what it loads with the first is not the members'."""
    first = Swarm(server, ["first"] * len(server.tasks), Ledger((), ["first"], ()), tuple(range(len(server.tasks))))
    await first.join()
    await first.leave()
    await asyncio.sleep(0.5)
    server.pin_beside()
    return server.rss_bytes()


async def _settle(ledger: Ledger) -> None:
    deadline = time.perf_counter() + SETTLE_S
    while not ledger.is_settled() and time.perf_counter() < deadline:  # noqa: ASYNC110 - nobody tells
        await asyncio.sleep(0.2)


def _latencies(plan: Plan, ledger: Ledger, before: Usage, after: Usage, received: int) -> dict[str, float]:
    delays = ledger.delays(before.at, after.at, time.perf_counter())
    ordered = sorted(delay.seconds for delay in delays)
    sent = sum(before.at <= at < after.at for at in ledger.sent_at)
    share = ledger.seen_share(before.at, after.at)
    done = max(sent * share, 1.0)  # a server that delivered nothing has a cost too: more than this
    used_s = after.server_s - before.server_s
    return {
        "delivered_share": share,
        "unseen_share": sum(not delay.seen for delay in delays) / max(len(delays), 1),
        "frames_per_delivery": received / (done * plan.fan_out),
        "cpu_us_update": used_s / done * 1e6,
        "cpu_us_delivery": used_s / (done * plan.fan_out) * 1e6,
        "p50_ms": percentile(ordered, 0.50) * 1e3,
        "p95_ms": percentile(ordered, 0.95) * 1e3,
        "p99_ms": percentile(ordered, 0.99) * 1e3,
    }
