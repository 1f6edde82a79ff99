"""The histories of a document: which epoch it is in, and how copies of an older history are known.

A restore replaces the history: an older generation becomes the newest state, in the next epoch. Copies of the replaced
history must not be merged back, and stock clients say nothing of epochs, so it is told by content:

- every copy of the present history holds the *marker*: a client id that nobody writes as, whose clock is the epoch;
- `ever` names all that any older history held: a copy with some of it and without the marker is an old one;
- `dead` says from which clock on a client's structs exist in older histories only.

It must never let a row of the journal or a checkpoint of an older epoch in: the tables see to that themselves.
Called by `restore`, and when a room is opened.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol
from uuid import UUID

from persistence.checkpoints import Checkpoint
from persistence.errors import StorageUnavailable


class HistoriesUnavailable(StorageUnavailable):
    """The tables cannot answer now: retry later. A replacement may have had its effect."""


@dataclass(frozen=True, slots=True)
class History:
    """What tells copies of a document's older histories (`ever` and `dead`: client id → clock) from its present one."""

    epoch: int
    marker: int
    ever: Mapping[int, int]
    dead: Mapping[int, int]


@dataclass(frozen=True, slots=True)
class Generation:
    """A kept state of a document, and when it was made."""

    checkpoint: Checkpoint
    made_at: datetime


class Histories(Protocol):
    """Every method may raise `HistoriesUnavailable`."""

    async def current(self, document_id: UUID) -> History | None:
        """The document's present history; None if no history of it was ever replaced."""

    async def epochs(self, document_ids: Sequence[UUID]) -> dict[UUID, int]:
        """The epochs of those documents whose history was ever replaced."""

    async def generations(self, document_id: UUID) -> list[Generation]:
        """Every kept generation, of all histories, newest first."""

    async def replace(self, state: Checkpoint, marker: int) -> bool:
        """Begin the epoch of `state` with it as the only state, in one durable transaction.

        The journal's rows are dropped, what is needed to know old copies is noted. False, and nothing changed, unless
        that epoch follows the present one and the generation is the next.
        """


def bequest(ever: Mapping[int, int], held: Iterable[Mapping[int, int]], now: Mapping[int, int]) -> History:
    """What a history at the clocks `now` has to know of what was before: `ever` so far, and `held` by the last one.

    The epoch and the marker are left to the caller.
    """
    most = dict(ever)
    for clocks in held:
        for client, clock in clocks.items():
            most[client] = max(clock, most.get(client, 0))
    dead = {client: now.get(client, 0) for client, clock in most.items() if clock > now.get(client, 0)}
    return History(0, 0, most, dead)
