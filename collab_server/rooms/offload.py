"""Big documents without a stall: work goes to worker processes, and what must be done on the loop is done in turns.

Everything here waits its time: jobs for a free worker, bounded in number and bytes so that a crowd of uploads is told
to come back instead of filling the memory; and steps of a few milliseconds each for the loop, of which one is
taken a turn whoever is waiting, so that all others are served in between. Used by the registry (opening), `intake` (big
updates) and, to renew them, for snapshots. One a process; owns its sandbox and background work.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager

import structlog

from collab_server.big_work import Checked, PlainPiece, check_and_split, fold_and_split, try_out
from collab_server.errors import Close, Refused
from collab_server.rooms.replica import BIG_DOCUMENT_BYTES, Replica
from collab_server.tasks import Tasks
from collab_server.update_split import Piece
from persistence.documents import DocumentUnloadable, StoredDocument
from persistence.sandbox import Sandbox, SandboxFailed
from persistence.state_vectors import covers, decode

log = structlog.get_logger(__name__)

MANY_UPDATES = 2_000  # 3 µs each to apply, and again to look for what waits
MAX_WAITING_JOBS, MAX_WAITING_BYTES = 64, 256 * 1024 * 1024


class Offload:
    """Runs the work on big documents. `close` ends what is under way."""

    def __init__(
        self,
        sandbox: Sandbox,
        *,
        big_update_bytes: int,
        timeout_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.big_update_bytes = big_update_bytes
        self.tasks = Tasks()
        self._sandbox = sandbox
        self._timeout_s = timeout_s
        self._clock = clock
        self._loop_free = asyncio.Lock()
        self._jobs = 0
        self._bytes = 0

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """The right to one step of some milliseconds on the loop: nobody else gets it before the next turn.

        After it the loop is left alone for as long as the step took, so all such steps together take half of its time.
        """
        async with self._loop_free:
            began = self._clock()
            yield
            await asyncio.sleep(self._clock() - began)

    async def check(self, update: bytes, known: dict[int, int]) -> Checked:
        """Check and split `update` for a room that holds `known`. Raises `Refused` when there is no room or worker."""
        with self._queued(len(update)):
            try:
                return await self._sandbox.run(check_and_split, update, known, timeout_s=self._timeout_s)
            except SandboxFailed as failure:
                log.error("big_update_not_checked", reason=failure.reason, size_bytes=len(update))
                raise Refused(Close.ROOM_UNAVAILABLE, "a large edit could not be checked: try again") from failure

    async def try_out(self, stored: StoredDocument, update: bytes) -> Checked:
        """Whether the stored document takes `update`. Raises `SandboxFailed` when it kills what tries."""
        return await self._sandbox.run(try_out, stored.checkpoint, stored.updates, update, timeout_s=self._timeout_s)

    async def load(self, stored: StoredDocument) -> Replica:
        """Rebuild a document from storage. Raises `DocumentUnloadable` if something is missing in what was stored,
        `ReplicaBroken`, and `SandboxFailed` for a big one.
        """
        replica = await self._rebuilt(stored)
        if not covers(replica.clocks, decode(stored.state_vector)):
            raise DocumentUnloadable("what is stored lacks something the newest checkpoint had")
        return replica

    async def _rebuilt(self, stored: StoredDocument) -> Replica:
        if stored.size_bytes <= BIG_DOCUMENT_BYTES and len(stored.updates) <= MANY_UPDATES:
            async with self.turn():
                return Replica.load(stored.checkpoint, stored.updates)
        folded = await self._sandbox.run(
            fold_and_split, stored.checkpoint, stored.updates, stored.reaches, timeout_s=self._timeout_s
        )
        replica = Replica()
        if folded.size_bytes > BIG_DOCUMENT_BYTES / 2:
            replica.cut_up()
        for piece in folded.pieces:
            async with self.turn():
                replica.load_piece(Piece(*piece))
        if replica.snapshot is not None:
            replica.snapshot.came_folded()
        for index in folded.waiting:
            async with self.turn():
                replica.load_waiting(stored.updates[index])
        replica.check_whole(dict(folded.clocks))
        return replica

    async def renew(self, replica: Replica) -> None:
        """Fold what the snapshot of `replica` holds into fewer pieces, while edits go on. Raises `SandboxFailed`."""
        if (snapshot := replica.snapshot) is not None:
            async with snapshot.folding:
                updates = snapshot.settled()
                folded = await self._sandbox.run(fold_and_split, None, updates, timeout_s=self._timeout_s)
                snapshot.renew(len(updates), pieces(folded.pieces))

    @contextmanager
    def _queued(self, size_bytes: int) -> Iterator[None]:
        if self._jobs >= MAX_WAITING_JOBS or self._bytes + size_bytes > MAX_WAITING_BYTES:
            raise Refused(Close.ROOM_UNAVAILABLE, "too many large edits at once: try again")
        self._jobs += 1
        self._bytes += size_bytes
        try:
            yield
        finally:
            self._jobs -= 1
            self._bytes -= size_bytes


def pieces(plain: Sequence[PlainPiece]) -> list[Piece]:
    """The pieces that came over the pipe."""
    return [Piece(*piece) for piece in plain]
