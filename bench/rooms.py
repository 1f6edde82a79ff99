"""What an update costs when ten rooms are open, and when ten thousand are. `python -m bench.rooms` prints it.

Two servers of ours run side by side on one core and get the same load in turns, in ten rooms of two who both type. One
of them has thousands of further rooms open, with one silent member each. The turns are short, so that a slow minute of
the machine hits both.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import statistics
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass

import uvloop
from rich.console import Console
from rich.table import Table

from bench.own import UNLIMITED, figures, make_ready, own_server, pin_apart
from bench.peers.edits import Edit
from bench.peers.ledger import Ledger
from bench.peers.plans import many_rooms
from bench.peers.servers import ours
from bench.peers.swarm import TICK_S, Swarm
from bench.peers.usage import exact_cpu_s
from tests.services.server import ServerProcess

ACTIVE_ROOMS, MEMBERS = 10, 2
WARM_UP_S = 0.5  # of each turn
IDLE_S = 0.5
SCRAPE_S = 0.2  # before the typing ends, so that the last scrape is within it
QUIET_S = 600  # no keep-alives or pings in that time: they are another cost (scenario d of `bench.peers`)
BAR = 1.1


@dataclass(frozen=True, slots=True)
class Turn:
    """One turn of one server: CPU µs an update under load, all of it, and µs a second without load."""

    update_us: float
    idle_us_s: float
    updates: float

    @property
    def net_us(self) -> float:
        """Of an update, without what the server does anyway."""
        return self.update_us - self.idle_us_s / self.updates if self.updates else 0.0


class Side:
    """One server with its members."""

    def __init__(self, server: ServerProcess, edits: Sequence[Edit], rooms: Sequence[str]) -> None:
        self.server = server
        self.swarm = Swarm(ours(server), rooms, Ledger(edits, rooms, ()))
        self._frames = self.swarm.frames()
        self._edits = edits
        self._next = 0
        self._played_s = 0.0

    async def turn(self, seconds: float) -> Turn:
        """Nobody types for a while, then everybody in the active rooms does."""
        idle, began = exact_cpu_s(self.server.pid), time.perf_counter()
        await asyncio.sleep(IDLE_S)
        idle_us_s = (exact_cpu_s(self.server.pid) - idle) / (time.perf_counter() - began) * 1e6
        playing = asyncio.create_task(self._play(WARM_UP_S + seconds))
        await asyncio.sleep(WARM_UP_S)
        before, told = exact_cpu_s(self.server.pid), await self._updates()
        began = time.perf_counter()
        await asyncio.sleep(seconds - SCRAPE_S)
        used, done = exact_cpu_s(self.server.pid) - before, await self._updates() - told
        took = time.perf_counter() - began
        await playing
        return Turn(used / max(done, 1.0) * 1e6, idle_us_s, done / took)

    async def _updates(self) -> float:
        return (await asyncio.to_thread(figures, self.server))["collab_updates_total"]

    async def _play(self, seconds: float) -> None:
        start, from_s = time.perf_counter() - self._played_s, self._played_s
        self._played_s = from_s + seconds
        while self._next < len(self._edits) and self._edits[self._next].due_s < self._played_s:
            edit = self._edits[self._next]
            wait_s = start + edit.due_s - time.perf_counter()
            if wait_s > 0:
                await asyncio.sleep(max(wait_s, TICK_S))
            self.swarm.members[edit.member].send(self._frames[self._next])
            self._next += 1


async def measure(few: ServerProcess, many: ServerProcess, open_rooms: int, chosen: argparse.Namespace) -> list[Turn]:
    """Turns of both, alternating, the one with few rooms first. Raises `Lost`."""
    seconds = (WARM_UP_S + chosen.seconds) * chosen.runs
    rate_per_s = chosen.rate / (ACTIVE_ROOMS * MEMBERS)
    plan = many_rooms(ACTIVE_ROOMS, MEMBERS, rate_per_s, 0.0, seconds)
    silent = tuple(f"silent-{number}" for number in range(open_rooms - ACTIVE_ROOMS))
    sides = [Side(few, plan.edits, plan.rooms), Side(many, plan.edits, plan.rooms + silent)]
    gc.collect()
    gc.freeze()
    turns: list[Turn] = []
    try:
        for side in sides:
            await side.swarm.join()
        for server in (few, many):
            pin_apart(server)
        assert (await asyncio.to_thread(figures, many))["collab_rooms"] >= open_rooms
        turns += [await side.turn(chosen.seconds) for _run in range(chosen.runs) for side in sides]
        for side in sides:
            assert side.swarm.lost == [], side.swarm.lost[0]
    finally:
        for side in sides:
            await side.swarm.leave()
    return turns


def show(console: Console, turns: Sequence[Turn], open_rooms: int) -> None:
    """Print the turns of both servers beside each other, and the medians."""
    few, many = turns[::2], turns[1::2]
    title = f"CPU µs an update, {ACTIVE_ROOMS} rooms open and {open_rooms:,}"
    table = Table("turn", "few", "many", "many/few", "few, net", "many, net", "net ratio", "updates/s", title=title)
    for number, (one, other) in enumerate(zip(few, many, strict=True), 1):
        table.add_row(str(number), *_cells((one.update_us, other.update_us), (one.net_us, other.net_us), other.updates))
    rate = statistics.median(turn.updates for turn in turns)
    medians: list[float] = []
    for name, middle in (("mean", statistics.fmean), ("quartile", _lower_quartile), ("median", statistics.median)):
        gross = [middle([turn.update_us for turn in side]) for side in (few, many)]
        net = [middle([turn.net_us for turn in side]) for side in (few, many)]
        table.add_row(name, *_cells((gross[0], gross[1]), (net[0], net[1]), rate))
        medians = gross
    console.print(table)
    idle = [statistics.median(turn.idle_us_s for turn in side) / 1e4 for side in (few, many)]
    console.print(f"without load they use {idle[0]:.2f}% and {idle[1]:.2f}% of a core")
    ratio = medians[1] / medians[0]
    console.print(f"ratio {ratio:.2f}, bar {BAR}: {'held' if ratio <= BAR else 'NOT HELD'}")


def _lower_quartile(values: list[float]) -> float:
    """The least disturbed quarter ends here."""
    return statistics.quantiles(values, n=4)[0] if len(values) > 1 else values[0]


def _cells(gross: tuple[float, float], net: tuple[float, float], rate: float) -> list[str]:
    found = []
    for few, many in (gross, net):
        found += [f"{few:.0f}", f"{many:.0f}", f"{many / few:.2f}"]
    return [*found, f"{rate:.0f}"]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m bench.rooms", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rooms", type=int, default=10_000, help="open in the full server (%(default)s)")
    parser.add_argument("--rate", type=float, default=1_000, help="updates a second (%(default)s)")
    parser.add_argument("--seconds", type=float, default=2, help="measured in each turn (%(default)s)")
    parser.add_argument("--runs", type=int, default=20, help="turns of each server (%(default)s)")
    chosen = parser.parse_args()
    make_ready()
    settings = UNLIMITED | {"keepalive_s": QUIET_S, "ping_interval_s": QUIET_S, "max_rooms": 2 * chosen.rooms}
    with ExitStack() as running:
        few, many = (running.enter_context(own_server(**settings)) for _side in range(2))
        for server in (few, many):
            pin_apart(server)
        turns = uvloop.run(measure(few, many, chosen.rooms, chosen))
    show(Console(), turns, chosen.rooms)


if __name__ == "__main__":
    main()
