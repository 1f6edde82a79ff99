"""A rolling restart, or the crash of a task, under stock clients who type: who was away how long, and what was lost.

    python -m bench.rolling --clients 2000 --tasks 3          # every task in turn
    python -m bench.rolling --clients 1500 --kill             # one task with a third of them, by SIGKILL

It runs `collab-server cluster` with everything it starts, and tests/interop/swarm.mjs: y-websocket as published, whose
reconnect has no jitter. Called by `make rolling`, and small by tests/journeys/test_rolling.py.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import signal
import sys
import tempfile
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any

from bench.own import UNLIMITED, make_ready
from bench.peers.ledger import percentile
from bench.peers.usage import cpu_s
from tests.services.client import Client
from tests.services.node import INTEROP, install_packages
from tests.services.server import ServerProcess

STEADY_S = 3.0  # everybody types before anything happens
AFTER_S = 3.0
LONGEST_S = 600.0
PINNED = 0.95
SAMPLE_S = 0.5
READ_AT_ONCE = 20
_TASK = re.compile(r"task (\d+): pid (\d+), http://127\.0\.0\.1:(\d+)/")
_BACK = re.compile(r"task (\d+) is back: pid (\d+)")
_DRAINING = re.compile(r"rolling restart: draining task (\d+) with (\d+) connections")


@dataclass
class Absence:
    """One client without a connection: seconds of the epoch; None for what had not happened at the end."""

    left: float
    synced: float | None
    edited: float | None


@dataclass
class Event:
    """One task that was drained or killed, and the absences that this began."""

    what: str
    at: float
    absences: list[Absence] = field(default_factory=list)

    def synced_s(self) -> list[float]:
        """From the event until each client that it moved was synced again, sorted; infinite for one that was not."""
        return sorted((each.synced or float("inf")) - self.at for each in self.absences)

    def edited_s(self) -> list[float]:
        """The same until an edit of it was acknowledged."""
        return sorted((each.edited or float("inf")) - self.at for each in self.absences)


@dataclass
class Outcome:
    """What came of it."""

    events: list[Event]
    acknowledged: int
    lost: list[str]  # acknowledged, and in no room afterwards
    unsynced: int  # clients without a synced connection at the end
    rooms: int
    visits: int
    loads: dict[str, int]  # rooms that each process of a task has loaded
    pinned_s: dict[str, float]  # the longest that each process used a whole core


class Cluster:
    """`collab-server cluster` as a process, with what it says about its tasks."""

    def __init__(self, server: ServerProcess) -> None:
        self.server = server
        self.admin_ports = {int(number): int(port) for number, _pid, port in _TASK.findall(server.output)}

    def pids(self) -> dict[int, int]:
        """The newest process of each task."""
        said = [(number, pid) for number, pid, _port in _TASK.findall(self.server.output)]
        return {int(number): int(pid) for number, pid in said + _BACK.findall(self.server.output)}

    async def figure(self, task: int, name: str) -> int:
        """A metric of the process that the task is now, by its full name. Raises OSError while it is away."""
        return await asyncio.to_thread(self._figure, task, name)

    def _figure(self, task: int, name: str) -> int:
        connection = HTTPConnection("127.0.0.1", self.admin_ports[task], timeout=10)
        try:
            connection.request("GET", "/metrics")
            body = connection.getresponse().read().decode()
        except HTTPException as error:
            raise OSError("its answer was cut off") from error
        finally:
            connection.close()
        (found,) = re.findall(rf"^{name} (\S+)", body, re.MULTILINE)
        return int(float(found))


class Swarm:
    """The clients: tests/interop/swarm.mjs in a node process."""

    def __init__(self, node: Process) -> None:
        self._node = node

    async def said(self, word: str) -> dict[str, Any]:
        """Its next line, which must be that."""
        assert self._node.stdout is not None
        line = json.loads(await self._node.stdout.readline() or "{}")
        assert line.get("said") == word, line
        return dict(line)

    async def ask(self, word: str) -> dict[str, Any]:
        """Say a word and wait for its answer."""
        assert self._node.stdin is not None
        self._node.stdin.write(f"{word}\n".encode())
        return await self.said(word)


@asynccontextmanager
async def swarm(url: str, clients: int, rooms: int, edit_every_s: float, visits_per_s: float) -> AsyncIterator[Swarm]:
    """The clients, all synced and typing."""
    install_packages(INTEROP)
    wanted = {"url": url, "clients": clients, "rooms": rooms, "visits_per_s": visits_per_s}
    node = await asyncio.create_subprocess_exec(
        *("node", "swarm.mjs", json.dumps(wanted | {"edit_every_ms": edit_every_s * 1_000})),
        cwd=INTEROP,
        stdin=PIPE,
        stdout=PIPE,
        limit=2**28,
    )
    try:
        running = Swarm(node)
        await running.said("ready")
        yield running
    finally:
        with suppress(ProcessLookupError):
            node.kill()
        await node.wait()


class Watch:
    """Twice a second: how much of a core each process of a task used, and what it has loaded."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self.loads: dict[str, int] = {}
        self.pinned_s: dict[str, float] = {}

    async def run(self) -> None:
        """Look for ever."""
        used: dict[int, float] = {}
        stretch: dict[str, float] = {}
        looked = time.monotonic()
        while True:
            await asyncio.sleep(SAMPLE_S)
            now = time.monotonic()
            for task, pid in self._cluster.pids().items():
                name = f"task {task}, pid {pid}"
                for serving in _children(pid):
                    before, used[serving] = used.get(serving), cpu_s(serving)
                    is_pinned = before is not None and used[serving] - before >= PINNED * (now - looked)
                    stretch[name] = stretch.get(name, 0.0) + now - looked if is_pinned else 0.0
                    self.pinned_s[name] = max(self.pinned_s.get(name, 0.0), stretch[name])
                with suppress(OSError):  # it is away at this moment
                    self.loads[name] = await self._cluster.figure(task, "collab_room_load_seconds_count")
            looked = now


def _children(pid: int) -> list[int]:
    with suppress(OSError):
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[:1]]
    return []


async def play(
    cluster: Cluster, *, clients: int, rooms: int, edit_every_s: float, visits_per_s: float, kill: bool
) -> Outcome:
    """Let everybody type, restart every task in turn (or kill one), and judge."""
    watch = Watch(cluster)
    watching = asyncio.create_task(watch.run())
    url = cluster.server.websocket_url
    try:
        async with swarm(url, clients, rooms, edit_every_s, visits_per_s) as crew:
            await asyncio.sleep(STEADY_S)
            events = await (_kill_one(cluster) if kill else _restart_all(cluster))
            await asyncio.sleep(AFTER_S)
            await crew.ask("quiet")
            report = await crew.ask("report")
    finally:
        watching.cancel()
    for absence in report["absences"]:
        times = [None if absence[name] is None else absence[name] / 1_000 for name in ("synced_ms", "edited_ms")]
        began = [event for event in events if event.at <= absence["left_ms"] / 1_000]
        if began:
            began[-1].absences.append(Absence(absence["left_ms"] / 1_000, *times))
    acknowledged: dict[str, list[str]] = report["acknowledged"]
    return Outcome(
        events,
        sum(map(len, acknowledged.values())),
        await _missing(url, acknowledged),
        clients - report["synced"],
        rooms,
        report["visits"],
        watch.loads,
        watch.pinned_s,
    )


async def _restart_all(cluster: Cluster) -> list[Event]:
    """A rolling restart, and when each drain began."""
    events: list[Event] = []
    before = cluster.server.output.count("rolling restart: done")
    told = len(_DRAINING.findall(cluster.server.output))
    cluster.server.signal(signal.SIGUSR1)
    while cluster.server.output.count("rolling restart: done") == before:
        for task, members in _DRAINING.findall(cluster.server.output)[told + len(events) :]:
            events.append(Event(f"drain of task {task}, {members} connections", time.time()))
        await asyncio.sleep(0.02)
    return events


async def _kill_one(cluster: Cluster) -> list[Event]:
    """SIGKILL of the first task."""
    pids = cluster.pids()
    event = Event("kill -9 of task 1", time.time())
    os.kill(pids[1], signal.SIGKILL)
    while cluster.pids()[1] == pids[1]:  # noqa: ASYNC110 - it is another process
        await asyncio.sleep(0.05)
    return [event]


async def _missing(url: str, acknowledged: dict[str, list[str]]) -> list[str]:
    """What was acknowledged and is not in its room, once everybody has left."""
    missing: list[str] = []
    doors = asyncio.Semaphore(READ_AT_ONCE)

    async def read(room: str, tokens: list[str]) -> None:
        async with doors, Client(url, room) as reader:
            text = str(reader.text)
        missing.extend(token for token in tokens if token not in text)

    await asyncio.gather(*(read(room, tokens) for room, tokens in acknowledged.items()))
    return missing


@contextmanager
def running_cluster(folder: Path, tasks: int, **settings: Any) -> Iterator[Cluster]:
    """`collab-server cluster` with storage of its own in `folder`."""
    asked = ("cluster", "--tasks", str(tasks))
    server = ServerProcess(folder, command=asked, **{"auth": "open", **UNLIMITED, **settings})
    server.start()
    try:
        yield Cluster(server)
    finally:
        server.stop()


def told(outcome: Outcome) -> list[str]:
    """The outcome as lines."""
    lines = []
    for event in outcome.events:
        synced, edited = event.synced_s(), event.edited_s()
        lines.append(
            f"{event.what}: {len(synced)} clients away; synced again after p50 {percentile(synced, 0.5):.1f} s, "
            f"p95 {percentile(synced, 0.95):.1f} s, the last {max(synced, default=0.0):.1f} s; "
            f"an edit acknowledged after p95 {percentile(edited, 0.95):.1f} s"
        )
    lines += [f"{name}: {loads} rooms loaded" for name, loads in outcome.loads.items()]
    lines += [f"{name}: {seconds:.0f} s at most of a whole core" for name, seconds in outcome.pinned_s.items()]
    lines.append(f"{outcome.rooms} rooms, and {outcome.visits} of one visitor each")
    lines.append(f"{outcome.acknowledged} edits acknowledged, {len(outcome.lost)} lost; {outcome.unsynced} not synced")
    return lines


def main() -> None:
    """Run once and print."""
    parser = argparse.ArgumentParser(prog="python -m bench.rolling", description=__doc__.split("\n")[0])
    parser.add_argument("--clients", type=int, default=2_000)
    parser.add_argument("--rooms", type=int, default=0, help="of the clients; a quarter as many when left out")
    parser.add_argument("--tasks", type=int, default=3)
    parser.add_argument("--edit-every", type=float, default=10.0, help="seconds between the edits of a client")
    parser.add_argument("--kill", action="store_true", help="kill one task instead of restarting all")
    chosen = parser.parse_args()
    make_ready()
    with tempfile.TemporaryDirectory(prefix="collab-rolling-") as name:
        folder = Path(name)
        folder.chmod(0o711)  # PostgreSQL is another user where we are root
        with running_cluster(folder, chosen.tasks) as cluster:
            outcome = asyncio.run(
                asyncio.wait_for(
                    play(
                        cluster,
                        clients=chosen.clients,
                        rooms=chosen.rooms or max(chosen.clients // 4, 1),
                        edit_every_s=chosen.edit_every,
                        visits_per_s=1.0,
                        kill=chosen.kill,
                    ),
                    LONGEST_S,
                )
            )
    print("\n".join(told(outcome)))
    sys.exit(1 if outcome.lost or outcome.unsynced else 0)


if __name__ == "__main__":
    main()
