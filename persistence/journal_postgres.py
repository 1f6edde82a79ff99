"""The journal in PostgreSQL, table `document_updates`.

It must never own the pool (whoever made it closes it), nor split one append over two transactions. Assembled with a
pool of its own, so that nobody else's slow sentence delays an acknowledgement.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from uuid import UUID

import asyncpg
import orjson

from persistence.database import BORROW_TIMEOUT_S, SQL_FOLDER, borrowed, load_queries, unavailable_as
from persistence.journal import JournalEntry, JournalRefused, JournalRow, JournalUnavailable
from persistence.quarantine import SHARE_OF_ACTOR, SHARE_OF_DOCUMENT, USUAL_BOUNDS, QuarantineBounds, RefusedUpdate

QUERIES = load_queries(SQL_FOLDER / "journal.sql")


class PostgresJournal:
    """See `Journal`. The pool's command_timeout and the time to get a connection bound every call."""

    def __init__(
        self, pool: asyncpg.Pool, *, hold_connection: bool = False, bounds: QuarantineBounds = USUAL_BOUNDS
    ) -> None:
        """`hold_connection` keeps one of the pool for appends until `close`, which must then come before the pool's.

        It saves the pool's own work, a third of the CPU of a one-row commit. The pool needs two connections then.
        """
        self._pool = pool
        self._bounds = bounds
        self._hold_connection = hold_connection
        self._held: asyncpg.Connection | None = None
        self._one_at_a_time = asyncio.Lock()
        self._closed = False

    async def append(self, entries: Sequence[JournalEntry]) -> None:
        """One statement outside an explicit transaction is one transaction, and one round trip."""
        self._refuse_when_closed()
        if not entries:
            return
        query = "append_and_lease" if any(entry.new_client_ids for entry in entries) else "append"
        batch = _as_json(entries)
        with _refusals_told():
            async with self._for_appends() as connection:
                await connection.execute(QUERIES[query], batch)

    async def unfolded(self, document_id: UUID) -> list[JournalRow]:
        self._refuse_when_closed()
        async with borrowed(self._pool, JournalUnavailable) as connection:
            rows = await connection.fetch(QUERIES["unfolded"], document_id)
        return [JournalRow(id=row["id"], update=row["update"], reach=row["reach"]) for row in rows]

    async def quarantine(self, refused: RefusedUpdate) -> None:
        self._refuse_when_closed()
        bounds = self._bounds
        with _refusals_told():
            async with borrowed(self._pool, JournalUnavailable) as connection:
                await connection.execute(
                    QUERIES["quarantine"],
                    refused.document_id,
                    refused.actor_id,
                    refused.reason,
                    refused.sha256,
                    refused.size_bytes,
                    bounds.content(refused),
                    bounds.max_rows,
                    bounds.max_rows * SHARE_OF_DOCUMENT,
                    bounds.max_bytes * SHARE_OF_ACTOR,
                )

    async def ping(self) -> None:
        self._refuse_when_closed()
        async with borrowed(self._pool, JournalUnavailable) as connection:
            writable = await connection.fetchval(QUERIES["ping"])
        if not writable:
            raise JournalUnavailable("the database is read-only")

    async def close(self) -> None:
        self._closed = True
        async with self._one_at_a_time:
            await self._let_go()

    @asynccontextmanager
    async def _for_appends(self) -> AsyncIterator[asyncpg.Connection]:
        if not self._hold_connection:
            async with borrowed(self._pool, JournalUnavailable) as connection:
                yield connection
            return
        async with self._one_at_a_time:
            try:
                with unavailable_as(JournalUnavailable):
                    if self._held is None:
                        self._held = await self._pool.acquire(timeout=BORROW_TIMEOUT_S)
                    yield self._held
            except (JournalUnavailable, asyncio.CancelledError):
                await self._let_go()  # what went wrong may be this connection's
                raise

    async def _let_go(self) -> None:
        held, self._held = self._held, None
        if held is not None:
            with suppress(asyncpg.InterfaceError):  # when the server ended it, the pool has taken it back already
                held.terminate()
            await self._pool.release(held)

    def _refuse_when_closed(self) -> None:
        if self._closed:
            raise JournalUnavailable("the journal is closed")


@contextmanager
def _refusals_told() -> Iterator[None]:
    """Raise JournalRefused for what the database will never take.

    The error's name alone: PostgreSQL's message and DETAIL may quote the row, and rows hold content.
    """
    try:
        yield
    except asyncpg.PostgresError as refusal:
        raise JournalRefused(f"{type(refusal).__name__} ({refusal.sqlstate})") from None


def _as_json(entries: Sequence[JournalEntry]) -> str:
    """The batch as one parameter: of six arrays the driver makes sixteen rows in 100 us more (bench/acks.py)."""
    rows = [
        {
            "document_id": str(entry.document_id),
            "update": entry.update.hex(),
            "actor_id": entry.actor_id,
            "client_ids": entry.client_ids,
            "reach": entry.reach.hex(),
            "epoch": entry.epoch,
            "new_client_ids": entry.new_client_ids,
        }
        for entry in entries
    ]
    try:
        return orjson.dumps(rows).decode()
    except TypeError:  # a lone surrogate: no text of PostgreSQL
        raise JournalRefused("text that is not Unicode") from None
