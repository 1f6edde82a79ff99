"""Who ended a process may not write: to that document until an operator settles it, and nowhere for an hour."""

from __future__ import annotations

import asyncio
import time
from uuid import UUID, uuid4

import pytest

from collab_server.crash_bars import EVERYWHERE_S, CrashBars, IsBarred
from collab_server.errors import Close, Refused
from persistence.quarantine import CRASH, Crash, QuarantineUnavailable, RefusedUpdate
from persistence.quarantine_memory import MemoryQuarantine

DOCUMENT, ANOTHER = uuid4(), uuid4()


class Slow(MemoryQuarantine):
    """Answers when it is let, and counts who asks."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = 0
        self.available = True
        self.let = asyncio.Event()
        self.let.set()

    async def crashes(self) -> list[Crash]:
        self.asked += 1
        found = await super().crashes()  # as of the question
        await self.let.wait()
        if not self.available:
            raise QuarantineUnavailable("away")
        return found

    def crash(self, actor: str, document_id: UUID = DOCUMENT) -> None:
        self.put(RefusedUpdate.of(document_id, actor, CRASH, b"fatal"))


async def barred(bars: CrashBars, document_id: UUID, subject: str, now: float) -> bool:
    try:
        await bars.check(document_id, subject, now)
    except Refused as refusal:
        return refusal.reason is Close.UPDATE_REFUSED and len(refusal.detail.encode()) <= 120
    return False


async def test_a_bar_is_everywhere_for_an_hour_and_on_its_document_until_it_is_settled() -> None:
    quarantine, now = Slow(), time.time()
    bars = CrashBars(quarantine)
    assert not await barred(bars, DOCUMENT, "mallory", now)
    quarantine.crash("mallory")
    later = now + EVERYWHERE_S + 10
    assert [await barred(bars, where, "mallory", now) for where in (DOCUMENT, ANOTHER)] == [True, True]
    assert [await barred(bars, where, "mallory", later) for where in (DOCUMENT, ANOTHER)] == [True, False]
    assert not await barred(bars, DOCUMENT, "ada", now)
    await quarantine.drop(1)
    assert not await barred(bars, DOCUMENT, "mallory", now)


async def test_everyone_who_asks_hears_of_what_was_stored_before_and_few_queries_tell_them() -> None:
    quarantine, now = Slow(), time.time()
    bars = CrashBars(quarantine)
    quarantine.let.clear()
    early = [asyncio.create_task(barred(bars, DOCUMENT, "mallory", now)) for _ in range(50)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    quarantine.crash("mallory")  # the first query has been answered by storage already
    late = [asyncio.create_task(barred(bars, DOCUMENT, "mallory", now)) for _ in range(50)]
    await asyncio.sleep(0)
    quarantine.let.set()
    assert all(await asyncio.gather(*late))
    await asyncio.gather(*early)
    assert quarantine.asked <= 3


async def test_nobody_is_let_in_while_storage_does_not_answer() -> None:
    quarantine = Slow()
    quarantine.available = False
    bars = CrashBars(quarantine)
    with pytest.raises(QuarantineUnavailable):
        await bars.check(DOCUMENT, "ada", time.time())
    quarantine.available = True
    assert not await barred(bars, DOCUMENT, "ada", time.time())


async def test_seats_are_looked_through_when_somebody_new_is_barred_and_not_otherwise() -> None:
    quarantine, told = Slow(), asyncio.Queue[bool]()

    def act(is_barred: IsBarred) -> None:
        told.put_nowait(is_barred(DOCUMENT, "mallory", time.time()))

    bars = CrashBars(quarantine)
    quarantine.crash("mallory")
    watching = asyncio.create_task(bars.watch(act))
    assert await asyncio.wait_for(told.get(), 10)
    asked = quarantine.asked
    while quarantine.asked == asked:  # noqa: ASYNC110
        await asyncio.sleep(0.02)
    await asyncio.sleep(0)
    assert told.empty()
    watching.cancel()
