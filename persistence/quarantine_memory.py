"""The quarantine in memory, for tests and for servers that keep nothing. Filled by the journal in memory.

It must never forget a crash while it holds it: bars rest on that.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import count
from uuid import UUID

from persistence.catalog_memory import MemoryCatalog
from persistence.quarantine import (
    CRASH,
    KILLED,
    SHARE_OF_ACTOR,
    SHARE_OF_DOCUMENT,
    USUAL_BOUNDS,
    Crash,
    KeptUpdate,
    QuarantineBounds,
    RefusedUpdate,
)


class MemoryQuarantine:
    """See `Quarantine`. With a catalog, rows carry the names of their documents."""

    def __init__(self, catalog: MemoryCatalog | None = None, bounds: QuarantineBounds = USUAL_BOUNDS) -> None:
        self._catalog = catalog
        self._bounds = bounds
        self._ids = count(1)
        self._rows: dict[int, tuple[KeptUpdate, bytes | None]] = {}

    def __iter__(self) -> Iterator[KeptUpdate]:
        """Oldest first."""
        return (row for row, _content in self._rows.values())

    def __len__(self) -> int:
        return len(self._rows)

    def put(self, refused: RefusedUpdate) -> None:
        """Keep what the bounds allow."""
        here = [row for row in self if row.document_id == refused.document_id]
        counted = [row for row in here if row.reason not in (CRASH, KILLED)]
        own = [row for row in counted if row.actor_id == refused.actor_id]
        most = self._bounds.max_rows
        if refused.reason not in (CRASH, KILLED) and (len(own) >= most or len(counted) >= most * SHARE_OF_DOCUMENT):
            last = max(here, key=lambda row: (row.actor_id == refused.actor_id, row.id))
            self._rows[last.id] = replace(last, unkept=last.unkept + 1), self._rows[last.id][1]
            return
        content = self._bounds.content(refused)
        held = sum(len(kept or b"") for row, kept in self._rows.values() if row.actor_id == refused.actor_id)
        if content is not None and held + len(content) > self._bounds.max_bytes * SHARE_OF_ACTOR:
            content = None
        document = self._catalog.by_id(refused.document_id) if self._catalog is not None else None
        row = KeptUpdate(
            id=next(self._ids),
            document_id=refused.document_id,
            document=document.name if document else None,
            epoch=document.epoch if document else None,
            actor_id=refused.actor_id,
            reason=refused.reason,
            sha256=refused.sha256,
            size_bytes=refused.size_bytes,
            has_content=content is not None,
            unkept=0,
            created_at=datetime.now(UTC),
            replayed_at=None,
        )
        self._rows[row.id] = row, content

    async def page(self, document: str | None, before: int | None, limit: int) -> list[KeptUpdate]:
        newest_first = reversed(list(self))
        return [
            row
            for row in newest_first
            if (document is None or row.document == document) and (before is None or row.id < before)
        ][:limit]

    async def read(self, row_id: int) -> tuple[KeptUpdate, bytes | None] | None:
        return self._rows.get(row_id)

    async def mark_replayed(self, row_id: int) -> None:
        if row_id in self._rows:
            row, _content = self._rows[row_id]
            self._rows[row_id] = replace(row, replayed_at=datetime.now(UTC), has_content=False), None

    async def drop(self, row_id: int) -> bool:
        return self._rows.pop(row_id, None) is not None

    async def sweep(self, older_than_days: float) -> int:
        oldest = datetime.now(UTC) - timedelta(days=older_than_days)
        gone = [row.id for row in self if row.created_at < oldest]
        for row_id in gone:
            del self._rows[row_id]
        return len(gone)

    async def crashes(self) -> list[Crash]:
        found: dict[tuple[UUID, str], list[KeptUpdate]] = {}
        for row in reversed(list(self)):
            if row.reason in (CRASH, KILLED) and row.replayed_at is None:
                found.setdefault((row.document_id, row.actor_id), []).append(row)
        return [
            Crash(*who, rows[0].created_at) for who, rows in found.items() if len(rows) > 1 or rows[0].reason == CRASH
        ][:1000]
