"""One run: the clients write, faults strike, copies are judged; then the server is killed in mid-sentence, every round.

What decides is the cold check: the server is started again while every writer is kept away, and a new client reads. A
writer that came back first would offer its edits again and hide a loss. Called by the `chaos` command and by tests.
"""

from __future__ import annotations

import asyncio
import random
import secrets
import time
from collections.abc import Awaitable, Callable, Iterable
from contextlib import AsyncExitStack
from dataclasses import dataclass

from chaos.books import Books
from chaos.checker import Replica, agree, differences, judge
from chaos.crew import Crew, Mode, Note, Unreachable
from chaos.faults import ClientCut, Fault
from chaos.own_server import ServerFailed
from chaos.report import Report
from chaos.schedule import Round, Strike
from chaos.target import Target
from chaos.writer import Address

SETTLES_WITHIN_S = 30.0
LOOKS_EVERY_S = 0.05
LAST_KILL = "last kill"
LAST_KILL_SAYS = "SIGKILL at a random moment; a new client reads before any writer is back"
FIRST_ARRIVAL = "first arrival"
CLIENT_CUT = "client-cut"

MakeCrews = Callable[[Address, Note], list[Crew]]
Progress = Callable[[int, str], None]
"""Told the rounds done, and what there is to say of them."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do: the rounds of a schedule. A document is left for a new one after so many edits."""

    seed: int
    rounds: tuple[Round, ...]
    edits_per_document: int = 8_000
    cold_wait_s: float = 45.0
    """Where the server cannot be killed: how long everybody stays away at the end, so that it drops the document."""
    document: str | None = None


class Campaign:
    """One run against one target."""

    def __init__(self, target: Target, make_crews: MakeCrews, plan: Plan, progress: Progress) -> None:
        self._target = target
        self._make_crews = make_crews
        self._plan = plan
        self._progress = progress
        self._books = Books()
        self._crews: list[Crew] = []
        self._faults: dict[str, Fault] = {}
        self._report = Report(target.about, plan.seed, 0)
        self._document = ""
        self._name = plan.document or f"chaos-{plan.seed}-{secrets.token_hex(3)}"
        self._comes_back_from: str | None = FIRST_ARRIVAL
        self._typing_since: float | None = None

    async def run(self) -> Report:
        """Do it; what goes wrong on the way is in the report."""
        report, started = self._report, time.monotonic()
        async with AsyncExitStack() as ending:
            ending.push_async_callback(self._target.stop)
            try:
                await self._begin(ending)
                for turn in self._plan.rounds:
                    self._progress(turn.number - 1, f"{report.acknowledged:,} edits acknowledged")
                    await self._round(turn)
                    report.rounds += 1
                    self._count()
                await self._finish()
            except (Unreachable, ServerFailed, TimeoutError) as error:
                report.problems.append(f"broken off in round {report.rounds + 1}: {str(error) or type(error).__name__}")
            self._count()
            report.oddities = self._target.oddities()
        report.seconds = time.monotonic() - started
        return report

    async def _begin(self, ending: AsyncExitStack) -> None:
        address = await self._target.start()
        self._crews = self._make_crews(address, self._books.note)
        for crew in self._crews:
            ending.push_async_callback(crew.close)
        self._report.writers = len(self._writers)
        self._faults = {**self._target.faults(), CLIENT_CUT: ClientCut(self._crews)}
        self._report.says = {name: fault.says for name, fault in self._faults.items()} | {LAST_KILL: LAST_KILL_SAYS}
        await self._open()

    @property
    def _writers(self) -> tuple[int, ...]:
        return tuple(writer for crew in self._crews for writer in crew.writers)

    async def _open(self) -> None:
        """Everybody goes to a new document."""
        number = len(self._books.ledgers) + 1
        self._document = self._name if self._plan.document else f"{self._name}-{number}"
        self._books.begin(self._document)
        await self._all(crew.open(self._document) for crew in self._crews)
        self._comes_back_from = FIRST_ARRIVAL

    async def _round(self, turn: Round) -> None:
        await self._be(Mode.TYPING)
        if self._comes_back_from is not None:
            await self._recover(self._comes_back_from, time.monotonic())
            self._comes_back_from = None
        for strike in turn.strikes:
            await self._strike(strike)
        await self._be(Mode.QUIET)
        await self._settle()
        if not self._target.about.can_be_killed:
            return
        await self._be(Mode.TYPING)
        await asyncio.sleep(turn.kill_after_s)
        await self._kill()
        await self._judge_cold(self._document)
        if len(self._books.current.sent) > self._plan.edits_per_document and not self._plan.document:
            await self._open()

    async def _strike(self, strike: Strike) -> None:
        fault = self._faults[strike.fault]
        await asyncio.sleep(strike.after_s)
        await fault.inject(random.Random(strike.dice))
        try:
            await asyncio.sleep(strike.lasts_s)
        finally:
            await fault.heal()
        self._report.strikes[strike.fault] += 1
        await self._recover(strike.fault, time.monotonic())

    async def _kill(self) -> None:
        """Kill in mid-sentence, and keep everybody away until a new client has read what the storage alone gives."""
        await self._target.kill()
        await self._be(Mode.AWAY)
        self._report.strikes[LAST_KILL] += 1
        self._comes_back_from = LAST_KILL
        await self._target.restart()

    async def _recover(self, after: str, since: float) -> None:
        """Wait until every writer is acknowledged again."""
        took, without = await self._books.recovery(self._writers, since)
        self._report.recovery_s.setdefault(after, []).extend(took)
        if not took:
            raise Unreachable(f"after {after} nobody was acknowledged: does the server know `?ack=1`?")
        for writer in without:
            self._report.problems.append(f"writer {writer} was not acknowledged again after {after}")

    async def _settle(self) -> None:
        """Wait until all copies are equal, and judge them with a new client's."""
        deadline = time.monotonic() + SETTLES_WITHIN_S
        while True:
            copies = [copy for crew in self._crews for copy in await crew.replicas()]
            if agree(copies) or time.monotonic() > deadline:
                copies.append(await self._crews[0].read(self._document))
                if agree(copies) or time.monotonic() > deadline:
                    break
            await asyncio.sleep(LOOKS_EVERY_S)
        self._report.settled |= judge(self._books.current, copies)
        for difference in differences(copies):
            self._report.problems.append(
                f"round {self._report.rounds + 1}, after {SETTLES_WITHIN_S:.0f} s: {difference}"
            )
        self._report.copies_judged += len(copies)

    async def _judge_cold(self, document: str) -> Replica:
        copy = await self._crews[0].read(document)
        self._report.cold |= judge(self._books.ledgers[document], [copy])
        self._report.copies_judged += 1
        return copy

    async def _finish(self) -> None:
        """Everybody comes back once more; then every document of the run is read from storage alone."""
        self._progress(len(self._plan.rounds), "reading every document from storage")
        await self._be(Mode.QUIET)
        await self._settle()
        await self._be(Mode.AWAY)
        if self._target.about.can_be_killed:
            await self._target.kill()
            await self._target.restart()
        else:
            await asyncio.sleep(self._plan.cold_wait_s)
        for document in self._books.ledgers:
            await self._judge_cold(document)

    async def _be(self, mode: Mode) -> None:
        now = time.monotonic()
        if self._typing_since is not None:
            self._report.typing_s += now - self._typing_since
        self._typing_since = now if mode is Mode.TYPING else None
        await self._all(crew.be(mode) for crew in self._crews)

    def _count(self) -> None:
        ledgers = self._books.ledgers.values()
        self._report.documents = len(ledgers)
        self._report.sent = sum(len(ledger.sent) + len(ledger.deleted) for ledger in ledgers)
        self._report.acknowledged = sum(ledger.acknowledgements for ledger in ledgers)

    async def _all(self, works: Iterable[Awaitable[None]]) -> None:
        await asyncio.gather(*works)
