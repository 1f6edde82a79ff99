"""The checkpoint table in PostgreSQL: table `checkpoints`, and the fold marks in `document_updates`.

It must never own the pool (whoever made it closes it), nor let a mark and its generation fall into two transactions.
Assembled beside `PostgresJournal`, on the same database.
"""

from collections.abc import Collection
from uuid import UUID

import asyncpg

from persistence.checkpoints import Checkpoint, CheckpointsUnavailable, Snapshot
from persistence.database import SQL_FOLDER, load_queries, unavailable_as
from persistence.journal import JournalRow

QUERIES = load_queries(SQL_FOLDER / "checkpoints.sql")


class PostgresCheckpointTable:
    """See `CheckpointTable`. The pool's command_timeout is what bounds every call."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def snapshot(self, document_id: UUID, base: int | None = None) -> Snapshot:
        """REPEATABLE READ: all sentences see the database as of the first one."""
        with unavailable_as(CheckpointsUnavailable):
            async with (
                self._pool.acquire() as connection,
                connection.transaction(isolation="repeatable_read", readonly=True),
            ):
                epoch = await connection.fetchval(QUERIES["epoch"], document_id) or 0
                generations = await connection.fetch(QUERIES["generations"], document_id)
                floor = await connection.fetchval(QUERIES["floor"], document_id)
                rows = await connection.fetch(QUERIES["unfolded_rows"], document_id)
                if base is not None or not generations:  # after the newest generation nothing is folded
                    rows += await connection.fetch(QUERIES["rows_folded_after"], document_id, base or 0)
        found = sorted((JournalRow(row["id"], row["update"], row["reach"]) for row in rows), key=lambda row: row.id)
        return Snapshot(tuple(map(checkpoint_of, generations)), tuple(found), floor or 0, epoch)

    async def newest(self, document_id: UUID) -> Checkpoint | None:
        with unavailable_as(CheckpointsUnavailable):
            row = await self._pool.fetchrow(QUERIES["newest"], document_id)
        return None if row is None else checkpoint_of(row)

    async def record(self, checkpoint: Checkpoint, contained: Collection[int]) -> bool:
        """The unique pair decides: a second writer waits for the first one's commit and then inserts nothing."""
        with unavailable_as(CheckpointsUnavailable):
            try:
                async with self._pool.acquire() as connection, connection.transaction():
                    if await connection.fetchval(QUERIES["insert"], *_columns(checkpoint)) is None:
                        return False
                    await connection.execute(
                        QUERIES["mark_folded"], checkpoint.document_id, checkpoint.generation, list(contained)
                    )
            except asyncpg.ForeignKeyViolationError:  # the document was deleted meanwhile
                return False
        return True


def _columns(checkpoint: Checkpoint) -> tuple[UUID, int, str, bytes, int, bytes, int]:
    return (
        checkpoint.document_id,
        checkpoint.generation,
        checkpoint.key,
        checkpoint.sha256,
        checkpoint.size_bytes,
        checkpoint.state_vector,
        checkpoint.epoch,
    )


def checkpoint_of(row: asyncpg.Record) -> Checkpoint:
    """The checkpoint in a row of the table."""
    return Checkpoint(
        document_id=UUID(int=row["document_id"].int),  # asyncpg hands out its own UUID subclass
        generation=row["generation"],
        key=row["key"],
        sha256=row["sha256"],
        size_bytes=row["size_bytes"],
        state_vector=row["state_vector"],
        epoch=row["epoch"],
    )
