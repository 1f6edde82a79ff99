"""Facts about the recorder: group commit, tickets, backlog, retries, refusals, and its end."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from uuid import UUID, uuid4

import pytest

from persistence import recorder as recorder_module
from persistence.journal import JournalEntry, JournalRefused, JournalUnavailable
from persistence.journal_memory import MemoryJournal
from persistence.recorder import BacklogFull, Recorder, RecorderStopped

ROOM = uuid4()


def entry(update: bytes = b"\x00\x00", document_id: UUID = ROOM) -> JournalEntry:
    return JournalEntry(document_id=document_id, update=update, actor_id="alice", client_ids=(1,), reach=b"\x00")


class ScriptedJournal(MemoryJournal):
    """A real journal that waits at a gate, fails as often as told, and refuses the documents it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = asyncio.Event()
        self.gate.set()
        self.batches: list[int] = []
        self.shut_after: int | None = None
        self.failures: list[Exception] = []
        self.deleted: set[UUID] = set()

    async def append(self, entries: Sequence[JournalEntry]) -> None:
        self.batches.append(len(entries))
        await self.gate.wait()
        if self.failures:
            raise self.failures.pop(0)
        if any(one.document_id in self.deleted for one in entries):
            raise JournalRefused("no such document")
        await super().append(entries)
        if len(self.batches) == self.shut_after:
            self.gate.clear()

    async def updates(self, document_id: UUID = ROOM) -> list[bytes]:
        return [row.update for row in await self.unfolded(document_id)]


@asynccontextmanager
async def running(journal: MemoryJournal, max_backlog_bytes: int = 10_000_000) -> AsyncIterator[Recorder]:
    recorder = Recorder(journal, max_backlog_bytes)
    recorder.start()
    async with asyncio.timeout(20):
        yield recorder
        await recorder.stop()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - a recorder has no event for "a commit has begun"
            await asyncio.sleep(0)


@pytest.fixture(autouse=True)
def quick_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorder_module, "BACKOFF_FIRST_S", 0.0001)
    monkeypatch.setattr(recorder_module, "BACKOFF_CAP_S", 0.001)


async def test_tickets_grow_by_one_and_durable_reaches_the_last_one() -> None:
    journal = ScriptedJournal()
    async with running(journal) as recorder:
        assert [recorder.record(entry(bytes([n]))) for n in range(3)] == [1, 2, 3]
        assert recorder.durable == 0
        await recorder.flush()
        assert recorder.durable == 3
        assert await journal.updates() == [b"\x00", b"\x01", b"\x02"]


async def test_what_arrives_during_a_commit_is_the_next_batch() -> None:
    journal = ScriptedJournal()
    journal.gate.clear()
    async with running(journal) as recorder:
        recorder.record(entry())
        await until(lambda: journal.batches == [1])
        for _ in range(7):
            recorder.record(entry())
        journal.gate.set()
        await recorder.flush()
        assert journal.batches == [1, 7]


async def test_updates_of_one_turn_of_the_loop_share_a_commit() -> None:
    journal = ScriptedJournal()
    async with running(journal) as recorder:
        for _ in range(50):
            recorder.record(entry())
        await recorder.flush()
        assert journal.batches == [50]


async def test_a_batch_is_bounded_in_rows_and_in_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorder_module, "BATCH_ROWS", 4)
    monkeypatch.setattr(recorder_module, "BATCH_BYTES", 5_000)
    journal = ScriptedJournal()
    async with running(journal) as recorder:
        for size in (1, 1, 1, 1, 1, 3_000, 3_000, 9_000):
            recorder.record(entry(bytes(size)))
        await recorder.flush()
        assert journal.batches == [4, 2, 1, 1]


async def test_listeners_are_called_after_the_commit_and_a_failing_one_harms_nobody() -> None:
    journal = ScriptedJournal()
    journal.gate.clear()
    heard: list[int] = []

    def broken(durable: int) -> None:
        raise ValueError(durable)

    async with running(journal) as recorder:
        recorder.add_listener(broken)
        recorder.add_listener(heard.append)
        recorder.record(entry())
        await until(lambda: journal.batches == [1])
        assert heard == []
        journal.gate.set()
        await recorder.flush()
        assert heard == [1]


async def test_flushing_one_ticket_does_not_wait_for_later_ones() -> None:
    journal = ScriptedJournal()
    journal.gate.clear()
    async with running(journal) as recorder:
        first = recorder.record(entry())
        await until(lambda: journal.batches == [1])
        second = recorder.record(entry())
        journal.shut_after = 1
        journal.gate.set()
        await recorder.flush(first)
        assert recorder.durable == first < second
        journal.gate.set()


async def test_a_cancelled_flush_leaves_the_commit_alone() -> None:
    journal = ScriptedJournal()
    journal.gate.clear()
    async with running(journal) as recorder:
        recorder.record(entry())
        waiting = asyncio.create_task(recorder.flush())
        await until(lambda: journal.batches == [1])
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        journal.gate.set()
        await recorder.flush()
        assert recorder.durable == 1
        assert journal.batches == [1]


async def test_an_unavailable_journal_is_retried_until_it_answers_and_nothing_is_lost() -> None:
    journal = ScriptedJournal()
    journal.failures = [JournalUnavailable("away") for _ in range(20)]
    async with running(journal) as recorder:
        for n in range(10):
            recorder.record(entry(bytes([n])))
        assert recorder.durable == 0
        await recorder.flush()
        assert await journal.updates() == [bytes([n]) for n in range(10)]
        assert len(journal.batches) == 21


async def test_a_full_backlog_refuses_until_a_commit_makes_room() -> None:
    journal = ScriptedJournal()
    journal.gate.clear()
    async with running(journal, max_backlog_bytes=10_000) as recorder:
        recorder.record(entry(bytes(6_000)))
        await until(lambda: journal.batches == [1])
        with pytest.raises(BacklogFull):
            recorder.record(entry(bytes(6_000)))
        assert recorder.record(entry(bytes(100))) == 2
        journal.gate.set()
        await recorder.flush()
        assert recorder.backlog_bytes == 0
        assert recorder.record(entry(bytes(6_000))) == 3


async def test_a_lone_entry_larger_than_the_bound_is_taken() -> None:
    journal = ScriptedJournal()
    async with running(journal, max_backlog_bytes=1_000) as recorder:
        await recorder.flush(recorder.record(entry(bytes(50_000))))
        assert len(await journal.updates()) == 1


async def test_the_age_is_that_of_the_oldest_uncommitted_entry() -> None:
    journal, now = ScriptedJournal(), 100.0
    journal.gate.clear()
    recorder = Recorder(journal, 10_000, clock=lambda: now)
    assert recorder.oldest_pending_age_s == 0.0
    recorder.start()
    recorder.record(entry())
    now = 107.5
    recorder.record(entry())
    assert recorder.oldest_pending_age_s == 7.5
    journal.gate.set()
    await recorder.flush()
    assert recorder.oldest_pending_age_s == 0.0
    await recorder.stop()


async def test_a_refused_entry_is_set_aside_and_holds_up_nobody() -> None:
    journal = ScriptedJournal()
    gone, order = uuid4(), list[tuple[str, int]]()
    journal.deleted = {gone}
    async with running(journal) as recorder:
        recorder.add_refusal_listener(lambda ticket, refused, reason: order.append(("refused", ticket)))
        recorder.add_listener(lambda durable: order.append(("durable", durable)))
        for n in range(100):
            recorder.record(entry(bytes([n]), gone if n in {30, 31, 99} else ROOM))
        await recorder.flush()
    assert await journal.updates() == [bytes([n]) for n in range(100) if n not in {30, 31, 99}]
    assert await journal.updates(gone) == []
    assert [ticket for kind, ticket in order if kind == "refused"] == [31, 32, 100]
    for ticket in (31, 32, 100):
        passed = next(place for place, (kind, at) in enumerate(order) if kind == "durable" and at >= ticket)
        assert order.index(("refused", ticket)) < passed
    noted = next(iter(journal.quarantined))
    assert (noted.document_id, noted.actor_id, noted.size_bytes) == (gone, "alice", 1)
    assert noted.sha256 == hashlib.sha256(bytes([30])).digest()
    assert noted.reason == "journal: no such document"


async def test_an_outage_while_a_batch_is_halved_is_waited_out() -> None:
    journal = ScriptedJournal()
    gone = uuid4()
    journal.deleted = {gone}
    journal.failures = [JournalRefused("no such document"), JournalUnavailable("away"), JournalUnavailable("away")]
    async with running(journal) as recorder:
        recorder.record(entry(b"a"))
        recorder.record(entry(b"b", gone))
        recorder.record(entry(b"c"))
        await recorder.flush()
        assert await journal.updates() == [b"a", b"c"]


async def test_stop_commits_what_waits_and_takes_nothing_more() -> None:
    journal = ScriptedJournal()
    recorder = Recorder(journal, 10_000)
    recorder.start()
    recorder.record(entry())
    assert await recorder.stop() == 0
    assert len(await journal.updates()) == 1
    with pytest.raises(RecorderStopped):
        recorder.record(entry())
    assert await recorder.stop() == 0


async def test_stop_gives_up_after_its_time_and_says_how_many_entries_were_left() -> None:
    journal = ScriptedJournal()
    journal.gate.clear()
    recorder = Recorder(journal, 10_000)
    recorder.start()
    recorder.record(entry())
    recorder.record(entry())
    waiting = asyncio.create_task(recorder.flush())
    await until(lambda: bool(journal.batches))
    assert await recorder.stop(timeout_s=0.01) == 2
    assert recorder.durable == 0
    with pytest.raises(RecorderStopped):
        await waiting


async def test_an_unexpected_failure_surfaces_everywhere_and_calls_nothing_durable() -> None:
    journal = ScriptedJournal()
    journal.failures = [ZeroDivisionError("a bug")]
    recorder = Recorder(journal, 10_000)
    recorder.start()
    ticket = recorder.record(entry())
    with pytest.raises(RecorderStopped):
        await recorder.flush(ticket)
    with pytest.raises(RecorderStopped):
        recorder.record(entry())
    with pytest.raises(RecorderStopped):
        await recorder.flush(ticket)
    with pytest.raises(ZeroDivisionError):
        await recorder.wait_stopped()
    with pytest.raises(ZeroDivisionError):
        await recorder.stop()
    assert recorder.durable == 0


async def test_entries_recorded_before_the_start_are_committed() -> None:
    journal = ScriptedJournal()
    recorder = Recorder(journal, 10_000)
    recorder.record(entry())
    recorder.start()
    await recorder.flush()
    assert recorder.durable == 1
    await recorder.stop()
