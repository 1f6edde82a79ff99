"""Restoring a document: one of its older generations becomes the newest state, in a new epoch.

It must never lose what it replaces: the newest state is folded into a generation first, and generations of replaced
histories are kept, so that a restore can be undone by another. Nor may it touch the older blob: the restored state is
an object of its own, which also holds the marker that tells copies of this epoch from older ones. Called by the
`restore` command, beside running servers.
"""

import asyncio
import hashlib
import secrets
from dataclasses import replace

from persistence.blobs import BlobMissing, Blobs
from persistence.catalog import Document
from persistence.checkpointer import FOLD_TIMEOUT_S, Checkpointer, checkpoint_key
from persistence.checkpoints import Checkpoint
from persistence.compression import Undecodable, compress, decompress
from persistence.fold import FoldResult, fold
from persistence.histories import Generation, Histories
from persistence.sandbox import Sandbox
from persistence.state_vectors import decode, encode, varuint

MAX_ATTEMPTS = 5  # each is overtaken by a checkpoint that a server makes meanwhile


class RestoreRefused(Exception):
    """The document was left as it was; the text says why."""


class Restorer:
    """Restores documents. Raises StorageUnavailable and SandboxFailed when a part of the storage is away."""

    def __init__(self, histories: Histories, checkpointer: Checkpointer, blobs: Blobs, sandbox: Sandbox) -> None:
        self._histories = histories
        self._checkpointer = checkpointer
        self._blobs = blobs
        self._sandbox = sandbox

    async def generations(self, document: Document) -> list[Generation]:
        """What can be restored, newest first."""
        return await self._histories.generations(document.id)

    async def restore(self, document: Document, generation: int, *, save_first: bool = True) -> Document:
        """Make `generation` the newest state; returns the document in its new epoch.

        `save_first` folds the newest state into a generation before, and raises what a checkpoint raises. Raises
        RestoreRefused.
        """
        if save_first:
            await self._checkpointer.checkpoint(document)
        old = await self._read(document, generation)
        restored = replace(document, epoch=document.epoch + 1)
        before = await self._histories.current(document.id)
        marker = before.marker if before else secrets.randbelow(2**32)
        state = await self._marked(old, marker, restored.epoch)
        body = await asyncio.to_thread(compress, state.state)
        digest = hashlib.sha256(body).digest()
        for _ in range(MAX_ATTEMPTS):
            newest = (await self.generations(document))[0].checkpoint.generation
            key = checkpoint_key(restored, newest + 1, digest).replace(".yjs.zst", f"-{secrets.token_hex(4)}.yjs.zst")
            await self._blobs.put(key, body, only_if_absent=True)
            if hashlib.sha256(await self._blobs.get(key)).digest() != digest:
                raise RestoreRefused("the state did not come back from object storage as it was stored")
            made = Checkpoint(document.id, newest + 1, key, digest, len(body), state.state_vector, restored.epoch)
            if await self._histories.replace(made, marker):
                await self._checkpointer.render(restored, made, state.state)
                return restored
            await self._blobs.delete(key)
        raise RestoreRefused("the document was restored or deleted by somebody else, or changes too fast: try again")

    async def _read(self, document: Document, generation: int) -> bytes:
        kept = {kept.checkpoint.generation: kept.checkpoint for kept in await self.generations(document)}
        if generation not in kept:
            numbers = ", ".join(map(str, sorted(kept))) or "none"
            raise RestoreRefused(f"there is no generation {generation}; there are: {numbers}")
        try:
            body = await self._blobs.get(kept[generation].key)
            if hashlib.sha256(body).digest() == kept[generation].sha256:
                return await asyncio.to_thread(decompress, body)
        except (BlobMissing, Undecodable):
            pass
        raise RestoreRefused(f"generation {generation} cannot be read from object storage: choose another")

    async def _marked(self, state: bytes, marker: int, epoch: int) -> FoldResult:
        """The state with the marker at `epoch`, encoded anew and loaded once, in a worker process."""
        plain: FoldResult = await self._sandbox.run(fold, state, [], timeout_s=FOLD_TIMEOUT_S)
        has = decode(plain.state_vector).get(marker, 0)
        rows = [(0, marking(marker, has, epoch), encode({marker: epoch}))]
        marked: FoldResult = await self._sandbox.run(fold, plain.state, rows, timeout_s=FOLD_TIMEOUT_S)
        return marked


def marking(marker: int, has: int, epoch: int) -> bytes:
    """The Yjs v1 update that takes the marker from clock `has` to `epoch`: collected garbage, which means nothing.

    The update of `has` 0 is what a member is sent, so that it holds the marker however little else it has got.
    """
    # One client with one struct: its id, its clock; content 0 (garbage) of so many clocks; nothing deleted.
    return b"\x01\x01" + varuint(marker) + varuint(has) + b"\x00" + varuint(epoch - has) + b"\x00"
