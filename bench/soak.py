"""People who join, type and leave all the time: what of them stays in the server. `python -m bench.soak` prints it.

Documents live for a while and are then left for new ones, so a document's growth is not taken for a leak: a server that
forgets who and what is gone needs the same memory in the last minute as in the fourth. Called by the soak test too.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import statistics
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import uvloop
from rich.console import Console
from rich.table import Table

from bench.own import figures, make_ready, own_server, pin_apart
from bench.peers.dialects import Dialect
from bench.peers.edits import client_ids, moving, typed_line
from bench.peers.frames import client_frame
from bench.peers.member import Lost, Member
from bench.peers.usage import rss_bytes
from tests.services.server import ServerProcess
from tests.services.tokens import token

GRACE_S = 2.0  # how long an empty room stays: short, so that rooms go and come
PEOPLE = 200
VISITS_OF_A_DOCUMENT = 64  # far more than one sees in its life
LEAVING_TIMEOUT_S = 60.0


@dataclass(frozen=True, slots=True)
class Crowd:
    """What people do. Each stays `connections / joins_per_s` on average, from half to one and a half of it."""

    connections: int = 1_000
    rooms: int = 300
    joins_per_s: float = 20.0
    edits_per_s: float = 0.5  # of each
    document_s: float = 60.0  # until whoever comes next gets a new document

    @property
    def longest_stay_s(self) -> float:
        """Of anybody."""
        return 1.5 * self.connections / self.joins_per_s


@dataclass(frozen=True, slots=True)
class Sample:
    """What the server holds at a moment."""

    at_s: float
    rss_mb: float
    threads: int
    files: int
    connections: int
    members: int
    rooms: int
    tasks: int

    @classmethod
    def now(cls, server: ServerProcess, at_s: float) -> Sample:
        """Asks the server and the kernel; blocks."""
        told = figures(server)
        status = Path(f"/proc/{server.pid}/status").read_text()
        threads = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("Threads:"))
        counts = (int(told[f"collab_{name}"]) for name in ("connections", "members", "rooms", "tasks"))
        files = sum(1 for _file in Path(f"/proc/{server.pid}/fd").iterdir())
        return cls(at_s, rss_bytes(server.pid) / 2**20, threads, files, *counts)

    @property
    def is_empty(self) -> bool:
        """Whether nobody and nothing of anybody is there."""
        return self.connections == self.members == self.rooms == 0


@dataclass(slots=True)
class Soaked:
    """What a run gave."""

    before: Sample
    during: list[Sample]
    after: Sample | None = None
    visits: int = 0
    edits: int = 0
    frames: int = 0
    lost: list[str] = field(default_factory=list)

    def slope_mb_min(self, warm_up_s: float) -> float:
        """Growth of the memory after `warm_up_s`, by a line through the samples."""
        settled = [sample for sample in self.during if sample.at_s >= warm_up_s]
        return slope([sample.at_s for sample in settled], [sample.rss_mb for sample in settled]) * 60


def slope(xs: Sequence[float], ys: Sequence[float]) -> float:
    """Of the line with the least squares."""
    return statistics.linear_regression(xs, ys).slope if len(xs) > 1 else 0.0


class Soak:
    """One run of a crowd against a server."""

    def __init__(self, server: ServerProcess, crowd: Crowd) -> None:
        self._server = server
        self._crowd = crowd
        self._random = random.Random(1)
        self._visits_of: Counter[str] = Counter()
        self._visits: set[asyncio.Task[None]] = set()
        self._tokens = [token(server, f"person-{number}") for number in range(PEOPLE)]
        dialect, edits = Dialect(), int(crowd.longest_stay_s * crowd.edits_per_s) + 1
        # Client ids and what they type are the same in every document, and used once in each.
        ids = client_ids(VISITS_OF_A_DOCUMENT)
        self._typed = [[client_frame(dialect.update(one)) for one in typed_line(client, edits)] for client in ids]
        cursors = [moving(seat, client, 1, 1)[0].body for seat, client in enumerate(ids)]
        self._cursors = [client_frame(dialect.awareness(body)) for body in cursors]

    async def run(self, seconds: float, sample_every_s: float) -> Soaked:
        """Let people come and go for `seconds`, then let everyone leave and wait until the server has forgotten them.

        Raises `TimeoutError` when it does not.
        """
        await self._visit("first", stay_s=0.0)  # what the server loads with its first member is not the crowd's
        found = Soaked(await self._until_empty(0.0), [])
        began = time.perf_counter()
        sampling = asyncio.create_task(self._sample(found, began, sample_every_s))
        doors = asyncio.create_task(self._open_doors(found, began))
        await asyncio.sleep(seconds)
        for task in (doors, sampling):
            task.cancel()
        await asyncio.gather(doors, sampling, return_exceptions=True)
        for visit in self._visits:
            visit.cancel()
        await asyncio.gather(*self._visits, return_exceptions=True)
        found.after = await self._until_empty(time.perf_counter() - began)
        return found

    async def _open_doors(self, found: Soaked, began: float) -> None:
        crowd = self._crowd
        while True:
            due = began + found.visits / crowd.joins_per_s
            await asyncio.sleep(max(due - time.perf_counter(), 0.001))
            slot = self._random.randrange(crowd.rooms)
            # Slots change their document one after the other, not all at once.
            age = (time.perf_counter() - began) / crowd.document_s + slot / crowd.rooms
            stay_s = self._random.uniform(0.5, 1.5) * crowd.connections / crowd.joins_per_s
            found.visits += 1
            visit = asyncio.create_task(self._visit_and_tell(found, f"soak-{slot}-{int(age)}", stay_s))
            self._visits.add(visit)
            visit.add_done_callback(self._visits.discard)

    async def _visit_and_tell(self, found: Soaked, document: str, stay_s: float) -> None:
        try:
            await self._visit(document, stay_s, found)
        except Lost as error:
            found.lost.append(str(error))

    async def _visit(self, document: str, stay_s: float, found: Soaked | None = None) -> None:
        """Join, show a cursor, type, leave: every fourth hangs up without a word."""
        seat = self._visits_of[document]
        self._visits_of[document] += 1
        if seat >= VISITS_OF_A_DOCUMENT:
            return
        loop, member = asyncio.get_running_loop(), Member(Dialect())
        until = time.perf_counter() + stay_s
        # A signed-in person may be there twice, on two devices.
        signed = self._random.choice(self._tokens)
        try:
            await member.join(self._server.ws_port, f"/ws/{document}?token={signed}")
            ended = loop.create_future()
            loop.add_reader(member.socket.fileno(), self._read, member, ended)
            member.send(self._cursors[seat])
            pause_s = 1 / self._crowd.edits_per_s
            for frame in self._typed[seat]:
                wait_s = min(pause_s, until - time.perf_counter())
                if wait_s > 0:
                    await asyncio.wait((ended,), timeout=wait_s)
                if ended.done() or time.perf_counter() >= until:
                    break
                member.send(frame)
                if found is not None:
                    found.edits += 1
            if ended.done():
                raise Lost(ended.result())
        finally:
            if member.socket.fileno() >= 0:
                loop.remove_reader(member.socket.fileno())
                if found is not None:
                    found.frames += member.stream.frames
                if seat % 4 == 3:
                    member.socket.close()
                else:
                    member.close()

    def _read(self, member: Member, ended: asyncio.Future[str]) -> None:
        try:
            member.stream.count(member.receive())
            member.answer_controls()
        except Lost as error:
            asyncio.get_running_loop().remove_reader(member.socket.fileno())
            ended.set_result(str(error))

    async def _sample(self, found: Soaked, began: float, every_s: float) -> None:
        while True:
            await asyncio.sleep(every_s)
            found.during.append(await asyncio.to_thread(Sample.now, self._server, time.perf_counter() - began))

    async def _until_empty(self, at_s: float) -> Sample:
        async with asyncio.timeout(LEAVING_TIMEOUT_S):
            while not (sample := await asyncio.to_thread(Sample.now, self._server, at_s)).is_empty:  # noqa: ASYNC110
                await asyncio.sleep(0.2)
        return sample


def show(console: Console, found: Soaked, minutes: float, warm_up_s: float) -> None:
    """Print the slope, and a row a minute."""
    columns = ("minute", "RSS MiB", "threads", "files", "connections", "members", "rooms", "tasks")
    title = (
        f"{minutes:g} minutes, {found.visits} visits, {found.edits} edits, {found.frames} frames received, "
        f"{len(found.lost)} lost; RSS slope after {warm_up_s / 60:g} min: {found.slope_mb_min(warm_up_s):+.2f} MB/min"
    )
    table = Table(*columns, title=title)
    minute = 0
    for sample in found.during:
        if sample.at_s >= minute * 60:
            table.add_row(f"{sample.at_s / 60:.1f}", *_cells(sample))
            minute += 1
    assert found.after is not None
    table.add_row("before", *_cells(found.before))
    table.add_row("after", *_cells(found.after))
    console.print(table)
    for reason, count in Counter(found.lost).most_common(5):
        console.print(f"lost {count}: {reason}", style="red", markup=False)


def _cells(sample: Sample) -> list[str]:
    _at_s, rss_mb, *counts = asdict(sample).values()
    return [f"{rss_mb:.1f}", *map(str, counts)]


def main() -> None:
    """Soak and print."""
    usual = Crowd()
    parser = argparse.ArgumentParser(prog="python -m bench.soak", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--minutes", type=float, default=10, help="of coming and going (%(default)s)")
    parser.add_argument("--warm-up", type=float, help="minutes before the slope counts (three tenths)")
    parser.add_argument("--connections", type=int, default=usual.connections, help="(%(default)s)")
    parser.add_argument("--rooms", type=int, default=usual.rooms, help="(%(default)s)")
    parser.add_argument("--joins-per-s", type=float, default=usual.joins_per_s, help="and leaves (%(default)s)")
    parser.add_argument("--json", type=Path, help="write every sample there")
    chosen = parser.parse_args()
    warm_up_s = 60 * (0.3 * chosen.minutes if chosen.warm_up is None else chosen.warm_up)
    make_ready()
    with own_server(room_grace_s=GRACE_S) as server:
        pin_apart(server)
        crowd = Crowd(chosen.connections, chosen.rooms, chosen.joins_per_s)
        found = uvloop.run(Soak(server, crowd).run(chosen.minutes * 60, 5.0))
    show(Console(), found, chosen.minutes, warm_up_s)
    if chosen.json:
        chosen.json.write_text(json.dumps(asdict(found), indent=1))


if __name__ == "__main__":
    main()
