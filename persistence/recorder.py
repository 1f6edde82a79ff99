"""The recorder: one task's updates on their way into the journal, in natural group commit.

One commit is in flight at a time; everything that arrives meanwhile is the next batch. The first update after a quiet
moment is committed at once; while updates keep coming, commits begin at least `GATHER_S` apart. An update costs its
caller an append to a queue, never an await. The recorder must never drop an entry, nor call one durable before the
journal has committed it: acknowledgements rest on `durable`. Owned by the server's assembly, fed by rooms.

An unavailable journal is retried for ever, with full-jitter backoff; the backlog is bounded in bytes meanwhile. A batch
that the journal refuses for good (a document was deleted) is halved until the refused entries stand alone. Each of them
is noted in quarantine, the refusal listeners are told, and only then does `durable` pass its ticket: nobody else is
held up, and whoever would acknowledge the refused one has been told not to.
"""

import asyncio
import contextlib
import random
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from itertools import count, islice
from typing import NamedTuple

import structlog

from persistence.journal import Journal, JournalEntry, JournalRefused, JournalUnavailable
from persistence.quarantine import RefusedUpdate

log = structlog.get_logger(__name__)

# Beyond this a row gets little cheaper (measured, loaded box: 300 us of CPU at 1 row, 7 a row at 100, 4 at 1,000).
BATCH_ROWS = 1_000
BATCH_BYTES = 4_000_000
# What an entry costs beside its bytes: the objects, and its place in the queue.
ENTRY_OVERHEAD_BYTES = 400
# A commit costs this process some 100 us however few rows it has. A few milliseconds between two of them make eight
# rows of one at 2,000 updates a second, and add less to an acknowledgement than a commit on a cloud disk takes.
GATHER_S = 0.004
# What `accepts` keeps free for an entry's reach and client ids: a client takes 5 bytes of an update at least and 24 of
# these, and no honest update is of more than a few thousand clients.
ENTRY_SHARE, ENTRY_EXTRAS = 5, 64_000
BACKOFF_FIRST_S = 0.05
BACKOFF_CAP_S = 1.0  # people wait for "stored" as long once the journal is back

DurableListener = Callable[[int], None]
RefusalListener = Callable[[int, JournalEntry, str], None]


class BacklogFull(Exception):
    """The backlog has reached its bound: refuse the write and tell the client to come back."""


class RecorderStopped(Exception):
    """The recorder has been stopped or has failed: nothing is recorded any more."""


class _Pending(NamedTuple):
    ticket: int
    entry: JournalEntry
    size_bytes: int
    since: float


class Recorder:
    """See the module. Belongs to one event loop; every listener is called on it, right after a commit."""

    def __init__(
        self,
        journal: Journal,
        max_backlog_bytes: int,
        *,
        observe_durable_s: Callable[[float], object] = lambda _seconds: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`max_backlog_bytes` bounds what waits for its commit, the batch in flight included.

        `observe_durable_s` is told of each entry how many seconds it took from `record` to the end of its commit.
        """
        self._observe_durable_s = observe_durable_s
        self._journal = journal
        self._max_backlog_bytes = max_backlog_bytes
        self._clock = clock
        self._backlog: deque[_Pending] = deque()
        self._backlog_bytes = 0
        self._last_ticket = 0
        self._durable = 0
        self._arrived = asyncio.Event()
        self._stopping = False
        self._owner: asyncio.Task[None] | None = None
        self._listeners: list[DurableListener] = []
        self._refusal_listeners: list[RefusalListener] = []
        self._waiters: dict[asyncio.Future[None], int] = {}

    @property
    def durable(self) -> int:
        """Every ticket up to this one is committed, or was refused and its refusal listeners told."""
        return self._durable

    @property
    def backlog_bytes(self) -> int:
        """What waits for its commit, in bytes of memory, the batch in flight included."""
        return self._backlog_bytes

    @property
    def backlog_rows(self) -> int:
        return len(self._backlog)

    @property
    def oldest_pending_age_s(self) -> float:
        """How long the oldest uncommitted entry has waited; 0.0 when there is none."""
        return self._clock() - self._backlog[0].since if self._backlog else 0.0

    def start(self) -> None:
        """Start committing. Needs a running event loop; may be called once."""
        if self._owner is not None:
            raise RuntimeError("the recorder was started already")
        self._owner = asyncio.get_running_loop().create_task(self._run(), name="recorder")
        self._owner.add_done_callback(self._ended)

    def accepts(self, update_bytes: int) -> bool:
        """Whether an update of that size can be recorded now: to be asked before anything is done with it."""
        return not self._stopping and (
            not self._backlog
            or self._backlog_bytes + update_bytes + ENTRY_OVERHEAD_BYTES + min(ENTRY_SHARE * update_bytes, ENTRY_EXTRAS)
            <= self._max_backlog_bytes
        )

    def record(self, entry: JournalEntry) -> int:
        """Queue an entry for the next commit and return its ticket; tickets grow by one.

        Raises BacklogFull when the bound would be passed (a lone entry is always taken), RecorderStopped after `stop`
        or a failure.
        """
        if self._stopping:
            raise RecorderStopped
        size = len(entry.update) + len(entry.reach) + 8 * len(entry.client_ids) + ENTRY_OVERHEAD_BYTES
        if self._backlog and self._backlog_bytes + size > self._max_backlog_bytes:
            raise BacklogFull(f"{self._backlog_bytes} bytes wait for the journal")
        self._last_ticket += 1
        self._backlog_bytes += size
        self._backlog.append(_Pending(self._last_ticket, entry, size, self._clock()))
        self._arrived.set()
        return self._last_ticket

    async def flush(self, ticket: int | None = None) -> None:
        """Wait until `durable` has reached the ticket; by default, the last one given out.

        Cancelling the wait cancels nothing else. Raises RecorderStopped when that will never happen.
        """
        target = self._last_ticket if ticket is None else ticket
        if self._durable >= target:
            return
        if self._stopping and (self._owner is None or self._owner.done()):
            raise RecorderStopped
        waiter = asyncio.get_running_loop().create_future()
        self._waiters[waiter] = target
        try:
            await waiter
        finally:
            self._waiters.pop(waiter, None)

    def add_listener(self, listener: DurableListener) -> None:
        """Call `listener(durable)` after each commit."""
        self._listeners.append(listener)

    def add_refusal_listener(self, listener: RefusalListener) -> None:
        """Call `listener(ticket, entry, reason)` for each entry the journal refused, before `durable` passes it."""
        self._refusal_listeners.append(listener)

    async def stop(self, timeout_s: float = 30.0) -> int:
        """Take no more entries, commit what waits for up to `timeout_s`, end. Returns how many were left uncommitted.

        Those were never called durable, so nobody was told that they are. Raises what ended the owner task if it
        failed. Idempotent.
        """
        self._stopping = True
        self._arrived.set()
        if self._owner is not None:
            await asyncio.wait([self._owner], timeout=timeout_s)
            self._owner.cancel()
        await self.wait_stopped()
        return len(self._backlog)

    async def wait_stopped(self) -> None:
        """Wait for the end of the recorder; raise what ended it, if that was not `stop`. For whoever supervises it."""
        if self._owner is not None:
            await asyncio.wait([self._owner])
            with contextlib.suppress(asyncio.CancelledError):
                self._owner.result()

    async def _run(self) -> None:
        began = -GATHER_S
        while True:
            if self._backlog:
                if (early_s := began + GATHER_S - self._clock()) > 0 and not self._stopping:
                    await asyncio.sleep(early_s)
                began = self._clock()
                await self._commit(self._next_batch())
            elif self._stopping:
                return
            else:
                self._arrived.clear()
                await self._arrived.wait()

    def _next_batch(self) -> list[_Pending]:
        """The oldest entries, at least one; they stay in the backlog until they are settled."""
        batch: list[_Pending] = []
        size = 0
        for pending in islice(self._backlog, BATCH_ROWS):
            size += pending.size_bytes
            if batch and size > BATCH_BYTES:
                break
            batch.append(pending)
        return batch

    async def _commit(self, batch: Sequence[_Pending]) -> None:
        """Commit the batch whole, or what of it can be; returns when all of it is settled."""
        entries = [pending.entry for pending in batch]
        try:
            await self._insist(lambda: self._journal.append(entries))
        except JournalRefused as refusal:
            if len(batch) > 1:
                middle = len(batch) // 2
                await self._commit(batch[:middle])
                await self._commit(batch[middle:])
                return
            await self._set_aside(batch[0], str(refusal))
        self._settle(batch)

    async def _insist(self, attempt: Callable[[], Awaitable[None]]) -> None:
        """Try until the journal answers, one way or the other."""
        for failures in count():
            try:
                await attempt()
            except JournalUnavailable as failure:
                cap_s = min(BACKOFF_CAP_S, BACKOFF_FIRST_S * 2 ** min(failures, 10))
                delay_s = random.uniform(0, cap_s)  # noqa: S311 - jitter, so that tasks do not return in step
                log.warning(
                    "journal_unavailable",
                    failures=failures + 1,
                    retry_in_s=round(delay_s, 3),
                    backlog_rows=len(self._backlog),
                    cause=str(failure),
                )
                await asyncio.sleep(delay_s)
            else:
                if failures:
                    log.info("journal_available_again", failures=failures)
                return

    async def _set_aside(self, pending: _Pending, reason: str) -> None:
        entry = pending.entry
        refused = RefusedUpdate.of(entry.document_id, entry.actor_id, f"journal: {reason}", entry.update)
        log.error("journal_refused_update", document_id=str(entry.document_id), actor_id=entry.actor_id, reason=reason)
        with contextlib.suppress(JournalRefused):  # the log line is the trace then
            await self._insist(lambda: self._journal.quarantine(refused))
        for listener in self._refusal_listeners:
            _call(listener, pending.ticket, entry, reason)

    def _settle(self, batch: Sequence[_Pending]) -> None:
        now = self._clock()
        for pending in batch:
            self._backlog.popleft()
            self._backlog_bytes -= pending.size_bytes
            self._observe_durable_s(now - pending.since)
        self._durable = batch[-1].ticket
        for listener in self._listeners:
            _call(listener, self._durable)
        for waiter, target in self._waiters.items():
            if target <= self._durable and not waiter.done():
                waiter.set_result(None)

    def _ended(self, owner: asyncio.Task[None]) -> None:
        """Nothing will be durable any more: say so, at once, to everyone who waits or comes later."""
        self._stopping = True
        if not owner.cancelled() and (failure := owner.exception()) is not None:
            log.critical("recorder_failed", backlog_rows=len(self._backlog), exc_info=failure)
        elif self._backlog:
            log.error("recorder_stopped_with_backlog", backlog_rows=len(self._backlog))
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_exception(RecorderStopped())


def _call(listener: Callable[..., None], *arguments: object) -> None:
    """A listener's fault is its owner's; it must not keep the others' updates from the journal."""
    try:
        listener(*arguments)
    except Exception:
        log.exception("recorder_listener_failed", listener=repr(listener))
