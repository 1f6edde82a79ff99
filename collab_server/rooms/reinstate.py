"""Puts a quarantined update back into its document, as an edit of the one who sent it, once it is known to be sound.

The update meets the firewall and is tried out on a copy of the stored document in a worker process; only then does the
live room see it, and from there it goes the way of every edit: members, journal, other tasks. Its row loses the bytes
only when the journal has them. Must never apply what the trial did not survive. Called by `admin_quarantine`.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from enum import StrEnum

import structlog

from auth.identity import Identity
from auth.permissions import Role
from collab_server.errors import Refused
from collab_server.limits import TokenBucket
from collab_server.rooms.member import Member
from collab_server.rooms.offload import Offload
from collab_server.rooms.outbox import Outbox
from collab_server.rooms.rebuild import turn_when_whole
from collab_server.rooms.registry import Registry
from collab_server.rooms.room import Room
from collab_server.update_split import Piece
from collab_server.wire import yjs
from persistence.catalog import Document
from persistence.documents import DocumentUnloadable
from persistence.quarantine import KeptUpdate, Quarantine
from persistence.recorder import RecorderStopped
from persistence.sandbox import SandboxFailed

log = structlog.get_logger(__name__)

COMMIT_TIMEOUT_S = (
    20.0  # a journal that is away for longer: the bytes stay in quarantine, and replaying again is harmless
)


class Outcome(StrEnum):
    """What became of a replay."""

    REPLAYED = "replayed"
    NO_SUCH_ROW = "no_such_row"
    NO_CONTENT = "no_content"
    NO_DOCUMENT = "no_document"
    REFUSED = "refused"
    GAP = "gap"
    TRIAL_FAILED = "trial_failed"
    NOT_STORED = "not_stored"
    UNAVAILABLE = "unavailable"


@dataclass(frozen=True, slots=True)
class Report:
    """What became of a replay, and a sentence for the operator."""

    outcome: Outcome
    detail: str


class Reinstatement:
    """Replays rows of the quarantine into rooms of this task."""

    def __init__(self, registry: Registry, quarantine: Quarantine, offload: Offload) -> None:
        self._registry = registry
        self._quarantine = quarantine
        self._offload = offload

    async def replay(self, row_id: int, *, by: str) -> Report:
        """Try to put the update of that row into its document; `by` is the operator. Raises `QuarantineUnavailable`."""
        found = await self._quarantine.read(row_id)
        if found is None:
            return Report(Outcome.NO_SUCH_ROW, "there is no such row: it was dropped, or is too old")
        kept, update = found
        report = await self._try(kept, update)
        log.warning("quarantine_replay", row=row_id, actor=kept.actor_id, by=by, outcome=report.outcome.value)
        return report

    async def _try(self, kept: KeptUpdate, update: bytes | None) -> Report:
        if update is None:
            return Report(Outcome.NO_CONTENT, "its content was not kept, or is in the document already")
        if kept.document is None or kept.epoch is None:
            return Report(Outcome.NO_DOCUMENT, "its document is gone")
        try:
            room = await self._registry.open(Document(kept.document_id, kept.document, kept.epoch))
            room.taking_in += 1  # so that it stays in memory
            try:
                return await self._apply(room, kept, update)
            finally:
                room.done_taking_in()
        except SandboxFailed as failure:
            return Report(Outcome.TRIAL_FAILED, f"the trial in a worker process failed: {failure}")
        except (DocumentUnloadable, RecorderStopped) as error:
            return Report(Outcome.UNAVAILABLE, f"the document cannot be read now: {error}")
        except Refused as refusal:
            return Report(Outcome.UNAVAILABLE, refusal.detail)

    async def _apply(self, room: Room, kept: KeptUpdate, update: bytes) -> Report:
        checked = await self._offload.try_out(await self._registry.stored(room), update)
        if checked.refused is not None:
            return Report(Outcome.REFUSED, f"the firewall refuses it: {checked.refused}")
        if checked.gap is not None:
            client, clock = checked.gap
            return Report(Outcome.GAP, f"it builds on edits of client {client} from {clock} on, which nobody has sent")
        author = _author(room, kept.actor_id)
        try:
            for piece in checked.pieces:
                async with turn_when_whole(room, self._offload):
                    if room.ruling.frozen:
                        return Report(Outcome.REFUSED, "the document is frozen: unfreeze it first")
                    if not room.edit_piece(author, Piece(*piece)):
                        return Report(Outcome.NOT_STORED, "the journal is full: replay it again later")
        except Refused as refusal:
            return Report(Outcome.REFUSED, f"the open document refused it: {refusal.detail}")
        try:
            async with asyncio.timeout(COMMIT_TIMEOUT_S):
                await self._registry.stored(room)
        except TimeoutError:
            return Report(Outcome.NOT_STORED, "it is in the open document but not stored yet: replay it again later")
        await self._quarantine.mark_replayed(kept.id)
        return Report(Outcome.REPLAYED, f"it is in the document as an edit of {kept.actor_id}")


class _Nowhere(asyncio.Transport):
    """The socket of one who is not there."""

    def write(self, data: object) -> None:
        """Nobody reads it."""

    def get_write_buffer_size(self) -> int:
        return 0


def _author(room: Room, actor_id: str) -> Member:
    """The one who sent the update, as the room's journal knows writers; without a seat or a connection."""
    return Member(
        room,
        Identity(actor_id, actor_id),
        Role.EDITOR,
        dialect=yjs,
        outbox=Outbox(_Nowhere(), 0, lambda: None),
        close=lambda _refusal: None,
        pause_reading=lambda _pause: None,
        address="",
        syncs=TokenBucket(0, 0),
        now=0.0,
    )
