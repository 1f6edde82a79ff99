"""One update through the whole stack: a real server process, sign-in, firewall, and a durable journal (fsync on).

One room, two members: one types, one reads. The server has a core of its own; what is counted is its own user and
system time, without PostgreSQL's. Load and server run on this machine, over loopback.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from websockets.asyncio.client import connect

from bench.micro import typing
from collab_server.wire import yjs
from collab_server.wire.messages import Update
from tests.services.server import ServerProcess
from tests.services.tokens import token

RATES_PER_S = (200, 1_000, 4_000, 8_000)
SECONDS = 4.0
WARM_UP = 200
TICKS_PER_S = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Result:
    """What was measured at one rate."""

    asked_per_s: int
    sent_per_s: float
    cpu_us: float
    p50_ms: float
    p99_ms: float


def cpu_s(pid: int) -> float:
    """User and system time of a process, in seconds (proc(5))."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_PER_S


async def measure() -> list[Result]:
    """Measure every rate on one server."""
    with tempfile.TemporaryDirectory(prefix="collab-bench-") as folder:
        os.chmod(folder, 0o711)  # noqa: PTH101 - nothing else runs yet; PostgreSQL is another user for root
        server = ServerProcess(Path(folder), auth="dev", messages_per_s=100_000)
        server.start()
        try:
            if len(os.sched_getaffinity(0)) > 1:
                first, *others = sorted(os.sched_getaffinity(0))
                os.sched_setaffinity(server.pid, {first})
                os.sched_setaffinity(0, set(others))
            return [await at_rate(server, rate) for rate in RATES_PER_S]
        finally:
            server.stop()


async def at_rate(server: ServerProcess, rate: int) -> Result:
    """Type at `rate` for some seconds beside one reader."""
    url = f"{server.websocket_url}/bench-{rate}?token={token(server)}"
    count = int(rate * SECONDS)
    frames = [yjs.encode(Update(update)) for update in typing(WARM_UP + count)]
    sent: dict[int, float] = {}
    latencies: list[float] = []
    async with connect(url, proxy=None) as writer, connect(url, proxy=None) as reader:

        async def read() -> None:
            seen = 0
            async for message in reader:
                if isinstance(message, bytes) and message[:2] == b"\x00\x02":
                    latencies.append(time.perf_counter() - sent[seen])
                    seen += 1
                    if seen == len(frames):
                        return

        reading = asyncio.create_task(read())
        for number, frame in enumerate(frames[:WARM_UP]):
            sent[number] = time.perf_counter()
            await writer.send(frame)
        cpu_before, started = cpu_s(server.pid), time.perf_counter()
        for number, frame in enumerate(frames[WARM_UP:]):
            pause = started + number / rate - time.perf_counter()
            if pause > 0:
                await asyncio.sleep(pause)
            sent[WARM_UP + number] = time.perf_counter()
            await writer.send(frame)
        await asyncio.wait_for(reading, 30)
        took, cpu = time.perf_counter() - started, cpu_s(server.pid) - cpu_before
    measured = sorted(latencies[WARM_UP:])
    return Result(
        rate,
        count / took,
        cpu / count * 1e6,
        statistics.median(measured) * 1e3,
        measured[int(len(measured) * 0.99)] * 1e3,
    )
