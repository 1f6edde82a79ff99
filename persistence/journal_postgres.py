"""The journal in PostgreSQL, table `document_updates`.

It must never own the pool (whoever made it closes it), nor split one append over two transactions. Assembled with a
pool of its own, so that nobody else's slow sentence delays an acknowledgement.
"""

from collections.abc import Sequence
from uuid import UUID

import asyncpg

from persistence.database import SQL_FOLDER, load_queries, unavailable_as
from persistence.journal import JournalEntry, JournalRefused, JournalRow, JournalUnavailable

QUERIES = load_queries(SQL_FOLDER / "journal.sql")


class PostgresJournal:
    """See `Journal`. The pool's command_timeout is what bounds every call."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool
        self._closed = False

    async def append(self, entries: Sequence[JournalEntry]) -> None:
        """One statement outside an explicit transaction is one transaction, and one round trip."""
        self._refuse_when_closed()
        if not entries:
            return
        try:
            with unavailable_as(JournalUnavailable):
                await self._pool.execute(QUERIES["append"], *_columns(entries))
        except asyncpg.PostgresError as refusal:
            raise _refused(refusal) from refusal

    async def unfolded(self, document_id: UUID) -> list[JournalRow]:
        self._refuse_when_closed()
        with unavailable_as(JournalUnavailable):
            rows = await self._pool.fetch(QUERIES["unfolded"], document_id)
        return [JournalRow(id=row["id"], update=row["update"], reach=row["reach"]) for row in rows]

    async def quarantine(self, document_id: UUID, actor_id: str, reason: str, sha256: bytes, size_bytes: int) -> None:
        self._refuse_when_closed()
        try:
            with unavailable_as(JournalUnavailable):
                await self._pool.execute(QUERIES["quarantine"], document_id, actor_id, reason, sha256, size_bytes)
        except asyncpg.PostgresError as refusal:
            raise _refused(refusal) from refusal

    async def ping(self) -> None:
        self._refuse_when_closed()
        with unavailable_as(JournalUnavailable):
            await self._pool.fetchval(QUERIES["ping"])

    async def close(self) -> None:
        self._closed = True

    def _refuse_when_closed(self) -> None:
        if self._closed:
            raise JournalUnavailable("the journal is closed")


def _refused(refusal: asyncpg.PostgresError) -> JournalRefused:
    # The message alone: PostgreSQL's DETAIL may quote the row, and rows hold content.
    return JournalRefused(f"{type(refusal).__name__} ({refusal.sqlstate})")


def _columns(entries: Sequence[JournalEntry]) -> tuple[list[UUID], list[bytes], list[str], list[str], list[bytes]]:
    return (
        [entry.document_id for entry in entries],
        [entry.update for entry in entries],
        [entry.actor_id for entry in entries],
        ["{" + ",".join(map(str, entry.client_ids)) + "}" for entry in entries],
        [entry.reach for entry in entries],
    )
