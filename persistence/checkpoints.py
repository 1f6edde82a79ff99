"""The checkpoint table: which folded states of a document exist, and which journal rows each of them holds.

Generation n+1 can be recorded once, by whoever comes first; that is the fence between two tasks that fold the same
document. It must never mark a row as folded except in the transaction that records the generation holding it. Old
generations and rows are let go of elsewhere (`history`). Called by the checkpointer and by `Documents`.
"""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Protocol
from uuid import UUID

from persistence.errors import StorageUnavailable
from persistence.journal import JournalRow

KEPT_GENERATIONS = 3


class CheckpointsUnavailable(StorageUnavailable):
    """The table cannot answer now: retry later. A change may have had its effect."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """One generation of a document, counted from 1.

    `key` is where its blob lies; `sha256` (32 bytes) and `size_bytes` are of the blob as stored, so compressed.
    `state_vector` is what the state in it holds, as Yjs v1. `epoch` is the history it belongs to.
    """

    document_id: UUID
    generation: int
    key: str
    sha256: bytes
    size_bytes: int
    state_vector: bytes
    epoch: int = 0


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The checkpoints (newest first), rows (by ascending id) and floor of the present history, all as of one instant.

    Rows folded into generations up to `floor` may be gone: a base below it cannot be completed. 0: no row is gone.
    """

    generations: tuple[Checkpoint, ...]
    rows: tuple[JournalRow, ...]
    floor: int = 0
    epoch: int = 0


class CheckpointTable(Protocol):
    """Checkpoints and the fold marks of the journal's rows. Every method may raise `CheckpointsUnavailable`."""

    async def snapshot(self, document_id: UUID, base: int | None = None) -> Snapshot:
        """All kept generations, and every row that generation `base` may lack: the unfolded and those folded later.

        `base` None is the newest generation; 0 is none at all, so every row still there. One consistent view: a
        checkpoint that commits meanwhile shows in both parts or in neither. Empty for an unknown document.
        """

    async def newest(self, document_id: UUID) -> Checkpoint | None:
        """The newest generation, without any row."""

    async def record(self, checkpoint: Checkpoint, contained: Collection[int]) -> bool:
        """Add the generation and mark those of its unfolded rows that it contains, in one durable transaction.

        False, and nothing changed, if the document already has that generation or a younger one, or is gone: a task
        that stood still while its generation was made by another one and pruned must not put its own in. The same if
        the document is in another epoch.
        """
