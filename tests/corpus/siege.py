"""Hostile updates by the hundred thousand at the socket of a real server, while honest people write: run by hand.

`python -m tests.corpus.siege --mutated 300000 --forged 50000 --seed 1` starts a server with a PostgreSQL of its own and
plays wave after wave of rooms (`siege_room`). The verdict: processes that died, rooms that were poisoned, honest edits
that were lost, memory. Exit code 0, or 1 with the attacks of each room that failed in a file, one hex line each.
Our own server on the loopback only. A test plays a small one.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import cycle
from math import inf
from pathlib import Path
from random import Random
from typing import Any

import uvloop
from prometheus_client.parser import text_string_to_metric_families
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from bench.own import UNLIMITED, make_ready, own_server
from tests.corpus.real_updates import INTEROP, generate, parse
from tests.corpus.siege_honest import Copy, Poisoned
from tests.corpus.siege_room import BesiegedRoom, Report, open_copy
from tests.corpus.siege_verdict import Verdict
from tests.services.node import install_packages
from tests.services.running import admin_get, resident_bytes, until_gone
from tests.services.server import ServerProcess
from tests.services.tokens import token

SETTINGS: dict[str, Any] = {**UNLIMITED, "auth": "dev", "flood_cool_down_s": 0, "room_grace_s": 1}
NAMES = 400  # an attacker whose update broke a copy is barred from that document
ROOMS = 8
OF_A_ROOM = {"mutated": 700, "forged": 250}  # attacks; a copy that breaks too often is given up
COLD_AT_ONCE = 8
REAL_UPDATES = 3_000


class Siege:
    """Waves of rooms on one server, which is stopped and started in the end."""

    def __init__(self, server: ServerProcess, seed: int, sessions: Sequence[Sequence[bytes]], folder: Path) -> None:
        self._server, self._seed, self._sessions, self._folder = server, seed, sessions, folder
        self._tokens = cycle([token(server, f"mallory-{number}") for number in range(NAMES)])
        self._copies: dict[str, Copy] = {}
        self._differing: set[str] = set()
        self._earlier_deaths = self._crashes()
        self.verdict = Verdict()

    async def run(self, asked: Mapping[str, int], report: Report, until: float = inf) -> Verdict:
        """Attack that many times, by kind, or until that time of the monotonic clock; then open every room cold."""
        await self._measure()
        for number, (kind, attacks) in enumerate(waves(asked)):
            if not self._server.runs or time.monotonic() > until:
                break
            rooms = [self._room(number, seat, kind) for seat in range(ROOMS)]
            async with asyncio.TaskGroup() as group:
                for seat, room in enumerate(rooms):
                    group.create_task(room.run(_share(attacks, seat, ROOMS), self._sessions, report))
            died = self._deaths() > self.verdict.deaths
            for room in rooms:
                self._note(room, died)
            await self._measure()
        await self._open_cold()
        return self.verdict

    def _room(self, wave: int, seat: int, kind: str) -> BesiegedRoom:
        random = Random(f"{self._seed} {wave} {seat}")
        return BesiegedRoom(self._server, f"{kind}-{self._seed}-{wave}-{seat}", random, self._tokens, kind)

    def _note(self, room: BesiegedRoom, died: bool) -> None:
        found = self.verdict
        found.rooms += 1
        found.edits += room.edits
        found.reloads += room.reloads
        found.sent.update(kind for kind, _update in room.sent)
        found.fates += room.fates
        found.closes += room.closes
        if room.copy is not None:
            self._copies[room.document] = room.copy
        if room.failure is not None:
            found.poisoned[room.document] = room.failure
        if room.differs:
            self._differing.add(room.document)
        if room.failure is not None or died:
            lines = (f"{kind} {update.hex()}\n" for kind, update in room.sent)
            (self._folder / f"{room.document}.txt").write_text("".join(lines))

    async def _measure(self) -> None:
        """After each wave, when its rooms have been unloaded."""
        self.verdict.deaths = self._deaths()
        if self._server.runs:
            await until_gone(self._server, "collab_rooms")
            self.verdict.resident_mb.append(resident_bytes(self._server.pid) / 1e6)
            self.verdict.refused = by_label(self._server, "collab_updates_refused_total")
            self.verdict.rebuilds = by_label(self._server, "collab_room_rebuilds_total")

    def _deaths(self) -> int:
        return self._crashes() - self._earlier_deaths

    def _crashes(self) -> int:
        return self._server.output.count("server_crashed")

    async def _open_cold(self) -> None:
        await asyncio.to_thread(self._server.stop)
        await asyncio.to_thread(self._server.start)
        few = asyncio.Semaphore(COLD_AT_ONCE)
        async with asyncio.TaskGroup() as group:
            for document, live in self._copies.items():
                group.create_task(self._compare(few, document, live))
        self.verdict.differing = Counter(document.partition("-")[0] for document in self._differing)
        self.verdict.deaths = self._deaths()

    async def _compare(self, few: asyncio.Semaphore, document: str, live: Copy) -> None:
        async with few:
            try:
                cold = await open_copy(self._server, document)
                if difference := live.difference(cold):
                    self.verdict.poisoned[document] = f"cold it is another: {difference}"
                elif cold.text != live.text:
                    self._differing.add(document)
            except Poisoned as poisoned:
                self.verdict.poisoned[document] = f"cold: {poisoned}"


def by_label(server: ServerProcess, name: str) -> dict[str, int]:
    """The samples of a counter with one label, by its value."""
    families = text_string_to_metric_families(admin_get(server, "/metrics")[1].decode())
    samples = [sample for family in families for sample in family.samples if sample.name == name]
    return {next(iter(sample.labels.values())): int(sample.value) for sample in samples}


def waves(asked: Mapping[str, int]) -> list[tuple[str, int]]:
    """Kind and number of attacks of each wave, the kinds well mixed."""
    found = []
    for kind, whole in asked.items():
        number = -(-whole // (ROOMS * OF_A_ROOM[kind]))
        found += [((wave + 0.5) / number, kind, _share(whole, wave, number)) for wave in range(number)]
    return [(kind, attacks) for _place, kind, attacks in sorted(found)]


def _share(whole: int, at: int, parts: int) -> int:
    return whole * (at + 1) // parts - whole * at // parts


def real_sessions(seed: int, updates: int) -> list[list[bytes]]:
    """What mutants are made of."""
    return [session.updates for session in parse(generate(seed, updates)).sessions]


async def _besieged(server: ServerProcess, asked: argparse.Namespace, folder: Path) -> Verdict:
    columns = (BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    attacks = {"mutated": asked.mutated, "forged": asked.forged}
    until = time.monotonic() + asked.minutes * 60
    siege = Siege(server, asked.seed, real_sessions(asked.seed, REAL_UPDATES), folder)
    with Progress(TextColumn("{task.description}"), *columns, console=Console(stderr=True)) as progress:
        bars = {kind: progress.add_task(kind, total=total) for kind, total in attacks.items()}
        return await siege.run(attacks, lambda kind: progress.advance(bars[kind]), until)


def main() -> int:
    """Besiege a server of our own; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.corpus.siege", description=__doc__)
    parser.add_argument("--mutated", type=int, default=300_000)
    parser.add_argument("--forged", type=int, default=50_000)
    parser.add_argument("--minutes", type=float, default=inf, help="no new wave of rooms after that")
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    make_ready()
    install_packages(INTEROP)
    folder = Path(tempfile.mkdtemp(prefix="collab-siege-"))
    with own_server(**SETTINGS) as server:
        verdict = uvloop.run(_besieged(server, asked, folder))
    print(verdict)
    print("held" if verdict.holds else f"did not hold; the attacks are in {folder}")
    return 0 if verdict.holds else 1


if __name__ == "__main__":
    sys.exit(main())
