"""The histories in PostgreSQL: `document_histories`, and the epochs in `documents`, `document_updates`, `checkpoints`.

It must never own the pool: whoever made it closes it. Assembled beside `PostgresJournal`, on the same database.
"""

from collections.abc import Sequence
from uuid import UUID

import asyncpg

from persistence.checkpoints import Checkpoint
from persistence.checkpoints_postgres import checkpoint_of
from persistence.database import SQL_FOLDER, borrowed, load_queries
from persistence.histories import Generation, HistoriesUnavailable, History, bequest
from persistence.state_vectors import decode, encode

QUERIES = load_queries(SQL_FOLDER / "histories.sql")


class PostgresHistories:
    """See `Histories`."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def current(self, document_id: UUID) -> History | None:
        async with borrowed(self._pool, HistoriesUnavailable) as connection:
            return await _current(connection, document_id)

    async def epochs(self, document_ids: Sequence[UUID]) -> dict[UUID, int]:
        async with borrowed(self._pool, HistoriesUnavailable) as connection:
            rows = await connection.fetch(QUERIES["epochs"], list(document_ids))
        return {UUID(int=row["document_id"].int): row["epoch"] for row in rows}

    async def generations(self, document_id: UUID) -> list[Generation]:
        async with borrowed(self._pool, HistoriesUnavailable) as connection:
            rows = await connection.fetch(QUERIES["kept"], document_id)
        return [Generation(checkpoint_of(row), row["created_at"]) for row in rows]

    async def replace(self, state: Checkpoint, marker: int) -> bool:
        """The document's row is locked first: an append that was under way is committed then, and dropped here.

        One that comes later waits, and finds that its history does not exist any more: a foreign key says so.
        """
        document_id = state.document_id
        async with borrowed(self._pool, HistoriesUnavailable) as connection, connection.transaction():
            epoch = await connection.fetchval(QUERIES["lock"], document_id)
            kept = [checkpoint_of(row) for row in await connection.fetch(QUERIES["kept"], document_id)]
            if epoch is None or state.epoch != epoch + 1 or state.generation != _next(kept):
                return False
            before = await _current(connection, document_id)
            reaches = [row["reach"] for row in await connection.fetch(QUERIES["reaches"], document_id)]
            held = [decode(held) for held in (*reaches, *(checkpoint.state_vector for checkpoint in kept))]
            left = bequest(before.ever if before else {}, held, decode(state.state_vector))
            await connection.execute(QUERIES["drop_journal"], document_id)
            await connection.execute(QUERIES["begin_epoch"], document_id, state.epoch)
            ever, dead = encode(left.ever), encode(left.dead)
            await connection.execute(QUERIES["insert_history"], document_id, state.epoch, marker, ever, dead)
            await connection.execute(QUERIES["insert_checkpoint"], *_columns(state))
            await connection.execute(QUERIES["raise_floor"], document_id, state.generation)
        return True


def _next(kept: Sequence[Checkpoint]) -> int:
    return kept[0].generation + 1 if kept else 1


async def _current(connection: asyncpg.Connection, document_id: UUID) -> History | None:
    row = await connection.fetchrow(QUERIES["current"], document_id)
    return None if row is None else History(row["epoch"], row["marker"], decode(row["ever"]), decode(row["dead"]))


def _columns(state: Checkpoint) -> tuple[object, ...]:
    return (
        state.document_id,
        state.generation,
        state.key,
        state.sha256,
        state.size_bytes,
        state.state_vector,
        state.epoch,
    )
