"""How large one room may become: members, bytes of its document, cursors a second of each member.

What a bound costs is stated in docs/operations.md. The size of a document is an estimate that costs an addition an
update, and is put right before a bound takes effect: by one encode, or by a fold of a big document in a worker. Never
refuses what other tasks have accepted: copies must not drift apart. Asked by the room, its members and the server.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from uuid import UUID

import structlog

from collab_server.errors import Close, Refused
from collab_server.limits import VAGUE_SHARE, DocumentSize, TokenBucket
from collab_server.rooms.replica import EMPTY_STATE_VECTOR, Replica
from collab_server.rooms.snapshot import Snapshot
from collab_server.telemetry import Metrics
from persistence.recorder import Recorder

log = structlog.get_logger(__name__)

MEASURE_EVERY_S = 5.0  # of a document at its bound: 32 MiB take 0.1 s, and what was deleted shows only in an encode
CURSOR_BURST_S = 4.0  # cursors of so many seconds at once: a network that stood still delivers them together


@dataclass(frozen=True, slots=True)
class RoomBounds:
    """The bounds of every room of this task; docs/settings.md gives the reasons."""

    max_members: int = 1_000
    warn_document_bytes: int = 8 * 1024 * 1024
    max_document_bytes: int = 32 * 1024 * 1024
    awareness_per_s: float = 50.0


class Bounds:
    """The bounds of one room."""

    __slots__ = ("_bounds", "_document_id", "_measured_at", "_metrics", "_recorder", "_replica", "_size")

    def __init__(
        self, bounds: RoomBounds, replica: Replica, recorder: Recorder, metrics: Metrics, document_id: UUID
    ) -> None:
        self._bounds = bounds
        self._replica = replica
        self._recorder = recorder
        self._metrics = metrics
        self._document_id = document_id
        self._measured_at = float("-inf")
        self._size = DocumentSize(bounds.warn_document_bytes, bounds.max_document_bytes)

    def check_seat(self, taken: int) -> None:
        """Raises `Refused` when no seat is left."""
        if taken >= self._bounds.max_members:
            raise Refused(Close.ROOM_FULL)

    def cursor_bucket(self) -> TokenBucket:
        """What one member may show of its cursor."""
        rate = self._bounds.awareness_per_s
        return TokenBucket(rate, max(1.0, rate * CURSOR_BURST_S))

    def grew(self, update_bytes: int) -> None:
        """An update was loaded or applied."""
        self._size.left -= update_bytes

    def refusal(self, update_bytes: int) -> Close | None:
        """Why an update of a client that brings new content may not be taken now, or None."""
        if not self._recorder.accepts(update_bytes):
            return Close.JOURNAL_FULL
        return None if update_bytes <= self._size.left else self._look_closer(update_bytes)

    def _look_closer(self, update_bytes: int) -> Close | None:
        size = self._size
        if self._replica.encoded_bytes is not None:
            size.measured(self._replica.encoded_bytes)
        elif size.is_vague or (not size.is_exact and time.monotonic() - self._measured_at >= MEASURE_EVERY_S):
            size.measured(len(self._replica.diff(EMPTY_STATE_VECTOR)))
            self._measured_at = time.monotonic()
        if size.has_just_become_large(update_bytes):
            self._metrics.documents_large.inc()
            log.warning("document_large", document_id=str(self._document_id), size_bytes=size.estimate + update_bytes)
        if not size.is_too_large(update_bytes):
            return None
        snapshot = self._replica.snapshot
        if snapshot is not None and self.is_unsure(update_bytes) and self._may_pass(snapshot, update_bytes):
            return None
        if size.has_just_become_full():
            log.warning("document_read_only", document_id=str(self._document_id), size_bytes=size.estimate)
        return Close.DOCUMENT_FULL

    def is_unsure(self, update_bytes: int) -> bool:
        """Whether only a fold can tell if an update has place: big documents hold what was deleted since the last."""
        snapshot, most_bytes = self._replica.snapshot, self._bounds.max_document_bytes
        if snapshot is None:
            return False
        return snapshot.least_bytes + update_bytes <= most_bytes < snapshot.size_bytes + update_bytes

    def _may_pass(self, snapshot: Snapshot, update_bytes: int) -> bool:
        """Ask for that fold; until then the document may pass the bound by as much as an estimate may err."""
        now = time.monotonic()
        if now - self._measured_at >= MEASURE_EVERY_S:
            self._measured_at = now
            snapshot.is_wanted = True
        return snapshot.size_bytes + update_bytes <= self._bounds.max_document_bytes * (1 + VAGUE_SHARE)
