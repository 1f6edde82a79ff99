"""How long an edit takes to be acknowledged, at a steady rate beside other people, and what recording one costs.

The first part is a real server with sign-in, firewall and a journal on PostgreSQL with fsync: forty writers in twenty
rooms, two thousand edits a second together, each with `?ack=1`; an acknowledgement is its own bytes coming back. The
second part runs the recorder alone, in this process, on the same kind of database: its CPU an update is that of a loop
that records minus that of the same loop that does not. Run it with `python -m bench.acks`.
"""

from __future__ import annotations

import argparse
import asyncio
import shutil
import time
from collections.abc import Callable

import uvloop
from rich.console import Console
from rich.progress import track

from bench.own import UNLIMITED, make_ready, own_server, pin_apart
from bench.peers.dialects import Dialect, Heard
from bench.peers.edits import client_ids, typed_line
from bench.peers.frames import client_frame
from bench.peers.ledger import percentile
from bench.peers.member import Member
from persistence.catalog_postgres import PostgresCatalog
from persistence.database import create_pool
from persistence.embedded_postgres import EmbeddedPostgres
from persistence.journal import JournalEntry
from persistence.journal_postgres import PostgresJournal
from persistence.migrate import upgrade
from persistence.recorder import Recorder
from tests.services.postgres import open_folder
from tests.services.server import ServerProcess
from tests.services.tokens import token

WRITERS, ROOMS = 40, 20
RATE_PER_S = 2_000
SECONDS, WARM_UP_S = 8.0, 2.0
REACH = b"\x01\x80\x80\x80\x80\x08\x05"  # one client and its clock
P50_BAR_MS, P99_BAR_MS, RECORDER_BAR_US = 5.0, 25.0, 6.0


class Writer:
    """One member that types its own line and waits for each update to come back."""

    def __init__(self, number: int, client: int, count: int) -> None:
        self._member = Member(Dialect())
        self._room = f"acks-{number % ROOMS}"
        self.bodies = typed_line(client, count)
        self._dialect = Dialect()
        self._frames = [client_frame(self._dialect.update(body)) for body in self.bodies]
        self._sent: dict[bytes, float] = {}
        self.acknowledged: list[tuple[float, float]] = []  # sent at, seconds

    async def join(self, server: ServerProcess) -> None:
        """Take a seat."""
        await self._member.join(server.ws_port, f"/ws/{self._room}?ack=1&token={token(server, f'writer-{id(self)}')}")
        asyncio.get_running_loop().add_reader(self._member.socket, self._read)

    def write(self, number: int) -> None:
        """Send one update."""
        self._sent[self.bodies[number]] = time.perf_counter()
        self._member.send(self._frames[number])

    @property
    def waiting(self) -> int:
        """Updates that are not acknowledged yet."""
        return len(self._sent)

    def leave(self) -> None:
        """Hang up."""
        asyncio.get_running_loop().remove_reader(self._member.socket)
        self._member.close()

    def _read(self) -> None:
        received, now = self._member.receive(), time.perf_counter()
        for payload in self._member.stream.payloads(received):
            kind, body = self._dialect.read(payload)
            if kind is Heard.UPDATE and (sent := self._sent.pop(body, None)) is not None:
                self.acknowledged.append((sent, now - sent))
        self._member.answer_controls()


async def latencies_ms(server: ServerProcess) -> list[float]:
    """Of every edit sent after the warm-up, in milliseconds."""
    total = int(RATE_PER_S * (WARM_UP_S + SECONDS))
    writers = [Writer(number, client, total // WRITERS) for number, client in enumerate(client_ids(WRITERS))]
    for writer in writers:
        await writer.join(server)
    pin_apart(server)
    started = time.perf_counter()
    for number in range(total):
        if (early_s := started + number / RATE_PER_S - time.perf_counter()) > 0:
            await asyncio.sleep(early_s)
        writers[number % WRITERS].write(number // WRITERS)
        if number % 50 == 0:
            await asyncio.sleep(0)
    async with asyncio.timeout(30):
        while any(writer.waiting for writer in writers):  # noqa: ASYNC110 - forty sockets, no common event
            await asyncio.sleep(0.01)
    for writer in writers:
        writer.leave()
    return [1e3 * seconds for writer in writers for sent, seconds in writer.acknowledged if sent - started > WARM_UP_S]


async def recorder_cpu_us() -> float:
    """What recording one update costs this process at the same rate, in microseconds of its CPU."""
    postgres, folder = EmbeddedPostgres(), open_folder()
    url = await postgres.start(folder)
    try:
        await upgrade(url)
        pool = await create_pool(url)
        document = await PostgresCatalog(pool).find_or_create("acks")
        journal = PostgresJournal(pool, hold_connection=True)
        recorder = Recorder(journal, 100_000_000)
        recorder.start()
        (client,) = client_ids(1)
        bodies = typed_line(client, int(RATE_PER_S * SECONDS))
        entries = [JournalEntry(document.id, body, "a-subject-of-usual-length", (client,), REACH) for body in bodies]
        idle = await _cpu_s(entries, lambda _entry: None)
        busy = await _cpu_s(entries, recorder.record)
        await recorder.stop()
        await journal.close()
        await pool.close()
        return (busy - idle) / len(entries) * 1e6
    finally:
        await postgres.stop()
        shutil.rmtree(folder)


async def _cpu_s(entries: list[JournalEntry], record: Callable[[JournalEntry], object]) -> float:
    began, cpu = time.perf_counter(), time.process_time()
    for number, entry in enumerate(entries):
        if (early_s := began + number / RATE_PER_S - time.perf_counter()) > 0:
            await asyncio.sleep(early_s)
        record(entry)
    await asyncio.sleep(0.1)
    return time.process_time() - cpu


def main() -> None:
    """Measure, and say what held."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=3)
    runs = parser.parse_args().runs
    make_ready()
    console = Console()
    for _ in track(range(runs), description="acknowledgements", console=console):
        with (
            own_server(checkpoint_after_s=3_600, **UNLIMITED) as server,
            asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
        ):
            found = sorted(runner.run(latencies_ms(server)))
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            cpu_us = runner.run(recorder_cpu_us())
        console.print(
            f"{len(found)} edits at {RATE_PER_S}/s acknowledged: "
            f"p50 {percentile(found, 0.5):.1f} ms (bar {P50_BAR_MS:.0f}), "
            f"p99 {percentile(found, 0.99):.1f} ms (bar {P99_BAR_MS:.0f}); "
            f"recorder {cpu_us:.1f} us CPU an update (bar {RECORDER_BAR_US:.0f})",
            soft_wrap=True,
        )


if __name__ == "__main__":
    main()
