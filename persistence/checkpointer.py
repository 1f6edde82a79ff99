"""Making a checkpoint: fold, verify, store, read back, and only then mark the journal's rows as folded.

It must never mark a row as folded unless a state that holds it lies in object storage, was loaded once, and was read
back byte for byte; and never fold in this process. Any task may try at any time: the generation decides who wins.
Called by whoever decides that a document is due (a room's triggers, drain, compaction, an admin).
"""

import asyncio
import hashlib
import secrets
from contextlib import suppress
from dataclasses import dataclass

import structlog

from persistence.blobs import BlobExists, BlobMissing, Blobs
from persistence.catalog import Catalog, Document
from persistence.checkpoints import Checkpoint, CheckpointTable
from persistence.compression import compress
from persistence.counts import NOT_COUNTED, Count
from persistence.documents import Documents, Recovered
from persistence.errors import StorageUnavailable
from persistence.fold import FoldResult, fold, render
from persistence.sandbox import Sandbox, SandboxFailed
from persistence.state_vectors import covers, decode

# Measured on two busy cores: 20,000 updates fold in 0.8 s, a 20 MB document of 600,000 structs in 9 s, and its text
# is read in 2.5 s. What takes far longer hangs (seconds).
FOLD_TIMEOUT_S = 60.0
MAX_RACES = 3  # lost in a row: the winners fold most of what there is
RENDER_TIMEOUT_S = 10.0  # no more, because a document that hangs its reader takes a worker at every checkpoint

log = structlog.get_logger(__name__)


class Overtaken(Exception):
    """Another task has made this generation, perhaps without the newest rows."""


class CheckpointRefused(Exception):
    """The new state lost something, or did not come back from storage as it went: the rows stay in the journal."""


@dataclass(frozen=True, slots=True)
class Packed:
    """A folded state as it lies in object storage."""

    body: bytes
    sha256: bytes


class Checkpointer:
    """Makes checkpoints. Calls may overlap, for one document too: one of them wins."""

    def __init__(
        self,
        catalog: Catalog,
        checkpoints: CheckpointTable,
        blobs: Blobs,
        sandbox: Sandbox,
        fold_timeout_s: float = FOLD_TIMEOUT_S,
        unreadable: Count = NOT_COUNTED,
    ) -> None:
        self._fold_timeout_s = fold_timeout_s
        self._catalog = catalog
        self._checkpoints = checkpoints
        self._blobs = blobs
        self._sandbox = sandbox
        self._documents = Documents(checkpoints, blobs, unreadable)

    async def checkpoint(self, document: Document) -> Checkpoint | None:
        """Fold what the newest generation lacks into a new one, then render it.

        None when there is nothing to fold (yet). Raises StorageUnavailable, SandboxFailed and Overtaken (try again
        later), CheckpointRefused and DocumentUnloadable (look into it). Whatever is raised, nothing is lost: at worst
        a blob lies about that no row names.
        """
        for _ in range(MAX_RACES):
            with suppress(Overtaken):
                return await self._checkpoint(document)
        raise Overtaken(f"{MAX_RACES} times another task was quicker")

    async def _checkpoint(self, document: Document) -> Checkpoint | None:
        found = await self._documents.recover(document)
        if not found.rows:
            return None
        rows = [(row.id, row.update, row.reach) for row in found.rows]
        folded = await self._sandbox.run(fold, found.state, rows, timeout_s=self._fold_timeout_s)
        _require_nothing_lost(folded, found)
        if not folded.contained_ids:
            return None
        checkpoint = await self._store(document, found, folded)
        if not await self._checkpoints.record(checkpoint, folded.contained_ids):
            await self._discard(checkpoint)
            raise Overtaken
        await self.render(document, checkpoint, folded.state)
        return checkpoint

    async def _store(self, document: Document, found: Recovered, folded: FoldResult) -> Checkpoint:
        generation = found.newest.generation + 1 if found.newest else 1
        packed = await asyncio.to_thread(_pack, folded.state)
        key = await self._put_new(checkpoint_key(document, generation, packed.sha256), packed.body)
        try:
            stored = await self._blobs.get(key)
        except BlobMissing as error:
            if await self._checkpoints.newest(document.id) != found.newest:
                raise Overtaken from error  # one that lost the race with the same bytes has tidied up
            raise CheckpointRefused("the blob is gone right after it was stored") from error
        if await asyncio.to_thread(_sha256, stored) != packed.sha256:
            raise CheckpointRefused("the blob did not come back as it was stored")
        return Checkpoint(
            document.id, generation, key, packed.sha256, len(packed.body), folded.state_vector, document.epoch
        )

    async def _put_new(self, key: str, body: bytes) -> str:
        """Store under `key`, or beside it if it holds other bytes (its hash says it should not: a rotten blob)."""
        try:
            await self._blobs.put(key, body, only_if_absent=True)
        except BlobExists:
            key = key.replace(".yjs.zst", f"-{secrets.token_hex(4)}.yjs.zst")
            await self._blobs.put(key, body, only_if_absent=True)
        return key

    async def _discard(self, loser: Checkpoint) -> None:
        """Delete the blob of a lost race, unless the winner folded the same bytes and so names the same key."""
        try:
            kept = await self._checkpoints.snapshot(loser.document_id)
            if all(checkpoint.key != loser.key for checkpoint in kept.generations):
                await self._blobs.delete(loser.key)
        except StorageUnavailable as error:
            log.warning("orphan_blob_left", key=loser.key, reason=type(error).__name__)

    async def render(self, document: Document, checkpoint: Checkpoint, state: bytes) -> None:
        """Render the text of `checkpoint`, if it is the newest. A failure makes the checkpoint no less a checkpoint."""
        try:
            await self._render(document, checkpoint, state)
        except (StorageUnavailable, SandboxFailed) as error:
            log.warning("content_not_rendered", document_id=str(document.id), reason=str(error))

    async def _render(self, document: Document, checkpoint: Checkpoint, state: bytes) -> None:
        text = await self._sandbox.run(render, state, timeout_s=RENDER_TIMEOUT_S)
        # A slower task must not put an older text over a newer one.
        if text is None or await self._checkpoints.newest(document.id) != checkpoint:
            return
        key = content_key(document)
        await self._blobs.put(key, text.markdown.encode())
        await self._catalog.record_content(document.id, text.words, text.characters, key)


def checkpoint_key(document: Document, generation: int, sha256: bytes) -> str:
    """Where a generation's blob lies: never twice the same for different bytes, and sorted by age within an epoch."""
    return f"crdt/{document.id}/{document.epoch}/{generation:08d}-{sha256.hex()[:16]}.yjs.zst"


def content_key(document: Document) -> str:
    """Where a document's newest rendered text lies."""
    return f"documents/{document.id}.md"


def _require_nothing_lost(folded: FoldResult, found: Recovered) -> None:
    """The newest generation may be unreadable, but the table still says what was in it."""
    if found.newest and not covers(decode(folded.state_vector), decode(found.newest.state_vector)):
        raise CheckpointRefused("the folded state lacks something the newest generation had")


def _pack(state: bytes) -> Packed:
    body = compress(state)
    return Packed(body, _sha256(body))


def _sha256(body: bytes) -> bytes:
    return hashlib.sha256(body).digest()
