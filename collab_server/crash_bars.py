"""Who may not write because an update of theirs ended a server process: asked by every task, so that it ends only one.

Rests on the quarantine alone: the supervisor of the process that ended stores a row, every task reads it before it
gives out a seat to write, and once a second to end the seats it has given out already. Barred is the document until an
operator settles the row, and every document for an hour, for whoever can end one task with one can try another.
Never lets anyone in because storage did not answer. Owned by `server`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from uuid import UUID

import structlog

from collab_server.errors import Close, Refused
from persistence.quarantine import Crash, Quarantine, QuarantineUnavailable

log = structlog.get_logger(__name__)

EVERYWHERE_S = 3600.0
WATCH_EVERY_S = 1.0
BARRED = "an edit of yours ended a server: you may not write until an operator has looked at it"  # at most 120 bytes

IsBarred = Callable[[UUID, str, float], bool]


class CrashBars:
    """The bars as of the last look into the quarantine."""

    def __init__(self, quarantine: Quarantine) -> None:
        self._quarantine = quarantine
        self._crashes: list[Crash] = []
        self._looking: asyncio.Task[None] | None = None
        self._next: asyncio.Task[None] | None = None

    async def check(self, document_id: UUID, subject: str, now: float) -> None:
        """Raises `Refused` for one who is barred, and `QuarantineUnavailable`; `now` is Unix seconds."""
        await self._look()
        if self.is_barred(document_id, subject, now):
            raise Refused(Close.UPDATE_REFUSED, BARRED)

    def is_barred(self, document_id: UUID, subject: str, now: float) -> bool:
        """Whether that was so at the last look."""
        return any(
            crash.actor_id == subject
            and (crash.document_id == document_id or now - crash.at.timestamp() < EVERYWHERE_S)
            for crash in self._crashes
        )

    async def watch(self, act: Callable[[IsBarred], None]) -> None:
        """Look once a second and call `act` when somebody new is barred."""
        known: set[Crash] = set()
        while True:
            try:
                await self._look()
            except QuarantineUnavailable as failure:  # nobody new is let in meanwhile
                log.debug("crash_bars_unknown", cause=str(failure))
            else:
                before, known = known, set(self._crashes)
                if known - before:
                    act(self.is_barred)
            await asyncio.sleep(WATCH_EVERY_S)

    async def _look(self) -> None:
        """Read the quarantine, in a query that begins after this call; all who call meanwhile share the next one."""
        if self._next is None:
            self._next = asyncio.create_task(self._look_after(self._looking), name="crash-bars")
            self._next.add_done_callback(lambda done: done.cancelled() or done.exception())
        await asyncio.shield(self._next)

    async def _look_after(self, before: asyncio.Task[None] | None) -> None:
        if before is not None:
            await asyncio.wait([before])
        self._looking, self._next = self._next, None
        self._crashes = await self._quarantine.crashes()
