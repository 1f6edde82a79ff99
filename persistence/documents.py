"""Loading a document: its newest good checkpoint and the journal rows that checkpoint lacks.

It must never return less than what was acknowledged, and above all never an empty document in place of one that cannot
be read: an empty room, a client's sync and the next checkpoint would make that loss final. Called when a room opens
and, for its base, by the checkpointer.
"""

import asyncio
import hashlib
from dataclasses import dataclass, field

import structlog

from persistence.blobs import BlobMissing, Blobs
from persistence.catalog import Document
from persistence.checkpoints import Checkpoint, CheckpointTable, Snapshot
from persistence.compression import Undecodable, decompress
from persistence.errors import StorageUnavailable
from persistence.journal import JournalRow

# A load is overtaken when checkpoints are made and pruned while it reads; thrice in a row is no accident.
MAX_ATTEMPTS = 3

log = structlog.get_logger(__name__)


class DocumentUnloadable(Exception):
    """The document cannot be read whole. `temporary` says whether trying again may help."""

    def __init__(self, reason: str, *, temporary: bool = False) -> None:
        super().__init__(reason)
        self.temporary = temporary


@dataclass(frozen=True, slots=True)
class StoredDocument:
    """A document as stored: apply `checkpoint` (a Yjs v1 update, None if there is none), then all `updates`.

    `generation` is that of the checkpoint, 0 without one; `reaches` are the journal's, one for each update.
    """

    checkpoint: bytes | None
    generation: int
    updates: list[bytes]
    reaches: list[bytes] = field(default_factory=list, compare=False)

    @property
    def size_bytes(self) -> int:
        """Of the checkpoint and all updates."""
        return len(self.checkpoint or b"") + sum(map(len, self.updates))


@dataclass(frozen=True, slots=True)
class Recovered:
    """What a fold starts from: the best readable state, the rows it lacks, and the newest generation there is.

    `base` is the checkpoint that `state` comes from; it is older than `newest` after a fall-back.
    """

    state: bytes | None
    base: Checkpoint | None
    newest: Checkpoint | None
    rows: tuple[JournalRow, ...]


class Documents:
    """Reads documents. Holds nothing and may be shared."""

    def __init__(self, checkpoints: CheckpointTable, blobs: Blobs) -> None:
        self._checkpoints = checkpoints
        self._blobs = blobs

    async def load(self, document: Document) -> StoredDocument:
        """Everything stored of the document; without checkpoint and updates if nothing was ever written.

        Raises DocumentUnloadable, `temporary` when a store did not answer.
        """
        try:
            recovered = await self.recover(document)
        except StorageUnavailable as error:
            raise DocumentUnloadable(f"storage does not answer: {error}", temporary=True) from error
        return StoredDocument(
            checkpoint=recovered.state,
            generation=recovered.base.generation if recovered.base else 0,
            updates=[row.update for row in recovered.rows],
            reaches=[row.reach for row in recovered.rows],
        )

    async def recover(self, document: Document) -> Recovered:
        """The newest readable state and all rows it lacks. Raises DocumentUnloadable and StorageUnavailable."""
        for _ in range(MAX_ATTEMPTS):
            newest = await self._checkpoints.snapshot(document.id)
            if recovered := await self._best(newest):
                return recovered
            if await self._checkpoints.newest(document.id) == _first(newest):
                raise DocumentUnloadable("no generation can be read, and rows of the oldest one are gone")
        raise DocumentUnloadable("every attempt was overtaken by newer checkpoints", temporary=True)

    async def _best(self, newest: Snapshot) -> Recovered | None:
        """The youngest generation that can be read with the rows it lacks, else the rows alone if all are there."""
        top = _first(newest)
        if top is None:
            return Recovered(None, None, None, newest.rows)
        for checkpoint in newest.generations:
            state = await self._read(checkpoint)
            if state is not None:
                rows = newest.rows if checkpoint == top else await self._rows_after(checkpoint, top)
                return None if rows is None else Recovered(state, checkpoint, top, rows)
        oldest = newest.generations[-1]
        if oldest.generation > 1:  # pruned: the rows folded into the first ones are gone
            return None
        rows = await self._rows_after(oldest, top, base=0)
        return None if rows is None else Recovered(None, None, top, rows)

    async def _rows_after(
        self, kept: Checkpoint, top: Checkpoint, *, base: int | None = None
    ) -> tuple[JournalRow, ...] | None:
        """The rows `kept` (or `base`) lacks; None if the table moved on meanwhile, so that some may be gone."""
        view = await self._checkpoints.snapshot(kept.document_id, kept.generation if base is None else base)
        return view.rows if _first(view) == top and kept in view.generations else None

    async def _read(self, checkpoint: Checkpoint) -> bytes | None:
        """The state in a checkpoint's blob, None if it is not there or not what was written.

        The hash is of the stored bytes, and those were decoded and checked before the row was written: bytes that match
        need no second check in a worker process.
        """
        try:
            body = await self._blobs.get(checkpoint.key)
            return await asyncio.to_thread(_verified, body, checkpoint.sha256)
        except (BlobMissing, Undecodable) as error:
            log.error(
                "checkpoint_unreadable",
                document_id=str(checkpoint.document_id),
                generation=checkpoint.generation,
                key=checkpoint.key,
                reason=type(error).__name__,
            )
            return None


def _first(snapshot: Snapshot) -> Checkpoint | None:
    return next(iter(snapshot.generations), None)


def _verified(body: bytes, sha256: bytes) -> bytes:
    if hashlib.sha256(body).digest() != sha256:
        raise Undecodable("the stored bytes are not the ones that were written")
    return decompress(body)
