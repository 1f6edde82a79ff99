"""Loading a document: its newest good checkpoint and the journal rows that checkpoint lacks.

It must never return less than what was acknowledged, and above all never an empty document in place of one that cannot
be read: an empty room, a client's sync and the next checkpoint would make that loss final. Called when a room opens
and, for its base, by the checkpointer.

What is proven, and where. A state is loaded and compared in a worker process before its checkpoint is recorded, and the
row then keeps the hash of exactly those stored bytes. So a load needs no second decoding in a worker: bytes with that
hash are proven, and all others (flipped, cut, another document's, a bomb) are turned away before anything unpacks or
decodes them. Whoever could forge the row could as well write the journal. Rows were checked by the firewall when they
came in. Whether rows are missing is not guessed either: the table knows up to which generation it dropped any.
"""

import asyncio
import hashlib
from dataclasses import dataclass, field

import structlog

from persistence.blobs import BlobMissing, Blobs, BlobsUnavailable
from persistence.catalog import Document
from persistence.checkpoints import Checkpoint, CheckpointTable, Snapshot
from persistence.compression import Undecodable, decompress
from persistence.counts import NOT_COUNTED, Count
from persistence.errors import StorageUnavailable
from persistence.journal import JournalRow

# A load is overtaken when checkpoints are made and dropped while it reads; thrice in a row is no accident.
MAX_ATTEMPTS = 3
# Someone waits: a store that hangs for this long is as good as away. An object of 32 MiB takes 3 s at 100 Mbit/s.
READ_TIMEOUT_S = 10.0
NOTHING = b"\x00"
"""The state vector of an empty document (Yjs v1)."""

log = structlog.get_logger(__name__)


class DocumentUnloadable(Exception):
    """The document cannot be read whole. `temporary` says whether trying again may help."""

    def __init__(self, reason: str, *, temporary: bool = False) -> None:
        super().__init__(reason)
        self.temporary = temporary


@dataclass(frozen=True, slots=True)
class StoredDocument:
    """A document as stored: apply `checkpoint` (a Yjs v1 update, None if there is none), then all `updates`.

    `generation` is that of the checkpoint, 0 without one; `reaches` are the journal's, one for each update. What comes
    of it must cover `state_vector`, the newest generation's, or something is missing.
    """

    checkpoint: bytes | None
    generation: int
    updates: list[bytes]
    reaches: list[bytes] = field(default_factory=list, compare=False)
    state_vector: bytes = field(default=NOTHING, compare=False)

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

    def __init__(self, checkpoints: CheckpointTable, blobs: Blobs, unreadable: Count = NOT_COUNTED) -> None:
        """`unreadable` counts the checkpoints that were not there or not what was written."""
        self._checkpoints = checkpoints
        self._blobs = blobs
        self._unreadable = unreadable

    async def load(self, document: Document) -> StoredDocument:
        """Everything stored of the document; without checkpoint and updates if nothing was ever written.

        While the store of checkpoints is away the rows alone will do, if all are still there. Raises
        DocumentUnloadable, `temporary` when a store did not answer.
        """
        try:
            try:
                recovered = await self.recover(document)
            except BlobsUnavailable as error:
                recovered = await self._from_rows(document, error)
        except StorageUnavailable as error:
            raise DocumentUnloadable(f"storage does not answer: {error}", temporary=True) from error
        return StoredDocument(
            checkpoint=recovered.state,
            generation=recovered.base.generation if recovered.base else 0,
            updates=[row.update for row in recovered.rows],
            reaches=[row.reach for row in recovered.rows],
            state_vector=recovered.newest.state_vector if recovered.newest else NOTHING,
        )

    async def recover(self, document: Document) -> Recovered:
        """The newest readable state and all rows it lacks. Raises DocumentUnloadable and StorageUnavailable."""
        for _ in range(MAX_ATTEMPTS):
            seen = await self._checkpoints.snapshot(document.id)
            if seen.epoch != document.epoch:
                raise DocumentUnloadable("its history was replaced meanwhile", temporary=True)
            if recovered := await self._best(document, seen):
                return recovered
            if await self._checkpoints.newest(document.id) == _first(seen):
                raise DocumentUnloadable("no generation can be read, and rows of the oldest one are gone")
        raise DocumentUnloadable("every attempt was overtaken by newer checkpoints", temporary=True)

    async def _best(self, document: Document, seen: Snapshot) -> Recovered | None:
        """The youngest generation that can be read with the rows it lacks, else the rows alone if all are there."""
        top = _first(seen)
        if top is None:
            return None if seen.floor else Recovered(None, None, None, seen.rows)
        for checkpoint in seen.generations:
            state = await self._read(checkpoint)
            if state is not None:
                if checkpoint == top:
                    return Recovered(state, checkpoint, top, seen.rows)
                rows = await self._rows_after(document, top, checkpoint.generation)
                return None if rows is None else Recovered(state, checkpoint, top, rows)
        rows = await self._rows_after(document, top, 0)
        return None if rows is None else Recovered(None, None, top, rows)

    async def _rows_after(self, document: Document, top: Checkpoint, base: int) -> tuple[JournalRow, ...] | None:
        """Every row that generation `base` lacks; None if some are gone, or if the table has moved on meanwhile."""
        view = await self._checkpoints.snapshot(document.id, base)
        return view.rows if view.floor <= base and _first(view) == top else None

    async def _from_rows(self, document: Document, away: BlobsUnavailable) -> Recovered:
        view = await self._checkpoints.snapshot(document.id, 0)
        if view.floor:
            raise away
        return Recovered(None, None, _first(view), view.rows)

    async def _read(self, checkpoint: Checkpoint) -> bytes | None:
        """The state in a checkpoint's blob, None if it is not there or not what was written. See the module."""
        try:
            async with asyncio.timeout(READ_TIMEOUT_S):
                body = await self._blobs.get(checkpoint.key)
            return await asyncio.to_thread(_verified, body, checkpoint)
        except TimeoutError as error:
            raise BlobsUnavailable(f"no answer for {READ_TIMEOUT_S:.0f} s") from error
        except (BlobMissing, Undecodable) as error:
            self._unreadable.inc()
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


def _verified(body: bytes, checkpoint: Checkpoint) -> bytes:
    if len(body) != checkpoint.size_bytes or hashlib.sha256(body).digest() != checkpoint.sha256:
        raise Undecodable("the stored bytes are not the ones that were written")
    return decompress(body)
