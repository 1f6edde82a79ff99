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
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import cycle
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
from tests.corpus.siege_room import BesiegedRoom, open_copy
from tests.services.node import install_packages
from tests.services.running import admin_get, resident_bytes, until_gone
from tests.services.server import ServerProcess
from tests.services.tokens import token

SETTINGS: dict[str, Any] = {**UNLIMITED, "auth": "dev", "flood_cool_down_s": 0, "room_grace_s": 1}
NAMES = 400  # an attacker whose update broke a copy is barred from that document
ROOMS = 8
OF_A_ROOM = 700  # attacks
COLD_AT_ONCE = 8
MOST_GROWTH_MB = 24.0
REAL_UPDATES = 3_000


@dataclass(slots=True)
class Verdict:
    """What a siege found. `resident_mb` is the server's memory with no room open: before it, and after each wave."""

    sent: Counter[str] = field(default_factory=Counter)
    fates: Counter[str] = field(default_factory=Counter)
    closes: Counter[int] = field(default_factory=Counter)
    refused: dict[str, int] = field(default_factory=dict)
    rebuilds: dict[str, int] = field(default_factory=dict)
    rooms: int = 0
    edits: int = 0
    poisoned: dict[str, str] = field(default_factory=dict)
    deaths: int = 0
    resident_mb: list[float] = field(default_factory=list)

    @property
    def growth_mb(self) -> float:
        """Of the last three quarters: before that allocators and caches warm up."""
        later = self.resident_mb[len(self.resident_mb) // 4 :]
        return later[-1] - later[0] if later else 0.0

    @property
    def holds(self) -> bool:
        """Whether the server kept its promise."""
        return not self.deaths and not self.poisoned and self.growth_mb <= MOST_GROWTH_MB

    def __str__(self) -> str:
        lines = {
            "sent": dict(self.sent),
            "fates": dict(sorted(self.fates.items())),
            "refused": dict(sorted(self.refused.items(), key=lambda item: -item[1])),
            "closes": dict(sorted(self.closes.items())),
            "copies rebuilt": self.rebuilds,
            "honest edits": f"{self.edits} in {self.rooms} rooms",
            "MB": " ".join(f"{mb:.0f}" for mb in self.resident_mb),
            "growth MB": f"{self.growth_mb:.1f} (at most {MOST_GROWTH_MB:.0f})",
            "process deaths": self.deaths,
            "rooms poisoned, or with an edit lost": self.poisoned or 0,
        }
        return "\n".join(f"{name:>15}: {value}" for name, value in lines.items())


class Siege:
    """Waves of rooms on one server, which is stopped and started in the end."""

    def __init__(self, server: ServerProcess, seed: int, sessions: Sequence[Sequence[bytes]], folder: Path) -> None:
        self._server, self._seed, self._sessions, self._folder = server, seed, sessions, folder
        self._tokens = cycle([token(server, f"mallory-{number}") for number in range(NAMES)])
        self._copies: dict[str, Copy] = {}
        self.verdict = Verdict()

    async def run(self, mutated: int, forged: int, report: Callable[[str], None]) -> Verdict:
        """Attack that many times; then open every room cold."""
        waves = -(-(mutated + forged) // (ROOMS * OF_A_ROOM))
        await self._measure()
        for wave in range(waves):
            if not self._lives():
                break
            rooms = [self._room(wave, seat) for seat in range(ROOMS)]
            shares = [wave * ROOMS + seat for seat in range(ROOMS)]
            await asyncio.gather(
                *(
                    room.run(_share(mutated, at, waves), _share(forged, at, waves), self._sessions, report)
                    for room, at in zip(rooms, shares, strict=True)
                )
            )
            for room in rooms:
                self._note(room)
            await self._measure()
        await self._open_cold()
        return self.verdict

    def _room(self, wave: int, seat: int) -> BesiegedRoom:
        random = Random(f"{self._seed} {wave} {seat}")
        return BesiegedRoom(self._server, f"siege-{wave}-{seat}", random, self._tokens)

    def _note(self, room: BesiegedRoom) -> None:
        found = self.verdict
        found.rooms += 1
        found.edits += room.edits
        found.sent.update(kind for kind, _update in room.sent)
        found.fates += room.fates
        found.closes += room.closes
        if room.copy is not None:
            self._copies[room.document] = room.copy
        if room.failure is not None:
            found.poisoned[room.document] = room.failure
        if room.failure is not None or self._deaths() > found.deaths:
            lines = (f"{kind} {update.hex()}\n" for kind, update in room.sent)
            (self._folder / f"{room.document}.txt").write_text("".join(lines))

    async def _measure(self) -> None:
        """After each wave, when its rooms have been unloaded."""
        self.verdict.deaths = self._deaths()
        if self._lives():
            await until_gone(self._server, "collab_rooms")
            self.verdict.resident_mb.append(resident_bytes(self._server.pid) / 1e6)
            self.verdict.refused = by_label(self._server, "collab_updates_refused_total")
            self.verdict.rebuilds = by_label(self._server, "collab_room_rebuilds_total")

    def _deaths(self) -> int:
        return self._server.output.count("server_crashed")

    def _lives(self) -> bool:
        return self._server.runs

    async def _open_cold(self) -> None:
        await asyncio.to_thread(self._server.stop)
        await asyncio.to_thread(self._server.start)
        few = asyncio.Semaphore(COLD_AT_ONCE)
        async with asyncio.TaskGroup() as group:
            for document, live in self._copies.items():
                group.create_task(self._compare(few, document, live))
        self.verdict.deaths = self._deaths()

    async def _compare(self, few: asyncio.Semaphore, document: str, live: Copy) -> None:
        async with few:
            try:
                if await open_copy(self._server, document) != live:
                    self.verdict.poisoned[document] = "cold it is another"
            except Poisoned as poisoned:
                self.verdict.poisoned[document] = f"cold: {poisoned}"


def by_label(server: ServerProcess, name: str) -> dict[str, int]:
    """The samples of a counter with one label, by its value."""
    families = text_string_to_metric_families(admin_get(server, "/metrics")[1].decode())
    samples = [sample for family in families for sample in family.samples if sample.name == name]
    return {next(iter(sample.labels.values())): int(sample.value) for sample in samples}


def _share(whole: int, at: int, waves: int) -> int:
    rooms = waves * ROOMS
    return whole * (at + 1) // rooms - whole * at // rooms


async def _besieged(server: ServerProcess, asked: argparse.Namespace, folder: Path) -> Verdict:
    columns = (BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    sessions = [session.updates for session in parse(generate(asked.seed, REAL_UPDATES)).sessions]
    with Progress(TextColumn("{task.description}"), *columns, console=Console(stderr=True)) as progress:
        bars = {
            kind: progress.add_task(kind, total=total)
            for kind, total in (("mutated", asked.mutated), ("forged", asked.forged))
        }
        siege = Siege(server, asked.seed, sessions, folder)
        return await siege.run(
            asked.mutated, asked.forged, lambda kind: progress.advance(bars[kind]) if kind in bars else None
        )


def main() -> int:
    """Besiege a server of our own; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.corpus.siege", description=__doc__)
    parser.add_argument("--mutated", type=int, default=300_000)
    parser.add_argument("--forged", type=int, default=50_000)
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
