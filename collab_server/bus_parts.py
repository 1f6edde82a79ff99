"""What every bus adapter is made of: the bounded queue of what goes out and the table of who hears what.

Neither may ever wait, and neither knows how envelopes travel. Called by `bus_memory` and `bus_redis`.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, KeysView, Sequence
from uuid import UUID

import structlog

from collab_server.bus import Envelope, Receive

log = structlog.get_logger(__name__)


class OutgoingQueue:
    """Encoded messages waiting for the way out, bounded in bytes: when it is full the oldest are dropped and counted.

    Oldest first, because a room that lost some asks for a diff anyway and then the newest are the ones it still lacks.
    """

    __slots__ = ("_max_bytes", "_waiting", "dropped", "queued_bytes")

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._waiting: deque[bytes] = deque()
        self.queued_bytes = 0
        self.dropped = 0

    def __len__(self) -> int:
        return len(self._waiting)

    def put(self, message: bytes) -> None:
        """Append; a message above the whole bound is dropped itself and costs the others nothing."""
        if len(message) > self._max_bytes:
            self.dropped += 1
            return
        self._waiting.append(message)
        self.queued_bytes += len(message)
        self._drop_oldest()

    def put_back(self, batch: Sequence[bytes]) -> None:
        """Return a batch whose sending failed to the front, in its order."""
        self._waiting.extendleft(reversed(batch))
        self.queued_bytes += sum(map(len, batch))
        self._drop_oldest()

    def take(self, max_bytes: int) -> list[bytes]:
        """The oldest messages up to `max_bytes` together, at least one unless the queue is empty."""
        batch: list[bytes] = []
        size = 0
        while self._waiting and (not batch or size + len(self._waiting[0]) <= max_bytes):
            message = self._waiting.popleft()
            batch.append(message)
            size += len(message)
        self.queued_bytes -= size
        return batch

    def _drop_oldest(self) -> None:
        while self.queued_bytes > self._max_bytes:
            self.queued_bytes -= len(self._waiting.popleft())
            self.dropped += 1


class Receivers:
    """Who hears which document (None: the control channel)."""

    __slots__ = ("_by_document",)

    def __init__(self) -> None:
        # Tuples replaced as a whole: a receiver may subscribe or unsubscribe while an envelope is being delivered.
        self._by_document: dict[UUID | None, tuple[Receive, ...]] = {}

    def add(self, document_id: UUID | None, receive: Receive) -> bool:
        """Whether this is the first receiver of the document. The same receiver twice counts once."""
        known = self._by_document.get(document_id, ())
        if receive not in known:
            self._by_document[document_id] = (*known, receive)
        return not known

    def remove(self, document_id: UUID | None, receive: Receive) -> bool:
        """Whether this was the last receiver of the document."""
        known = self._by_document.get(document_id, ())
        kept = tuple(other for other in known if other != receive)
        if kept:
            self._by_document[document_id] = kept
        elif known:
            del self._by_document[document_id]
        return bool(known) and not kept

    def documents(self) -> KeysView[UUID | None]:
        return self._by_document.keys()

    def deliver(self, envelope: Envelope) -> None:
        """Call everyone who hears the envelope's document; what one of them raises is logged and ends there."""
        for receive in self._by_document.get(envelope.document_id, ()):
            try:
                receive(envelope)
            except (asyncio.CancelledError, KeyboardInterrupt, SystemExit):
                raise
            except BaseException:  # a panic inside pycrdt is no Exception, and must not end the reader either
                log.exception("bus_receiver_failed", kind=envelope.kind, document_id=str(envelope.document_id))


def call_each(listeners: Iterable[Callable[[], None]]) -> None:
    """Tell each listener that envelopes may have been lost; what one of them raises is logged and ends there."""
    for listener in listeners:
        try:
            listener()
        except Exception:
            log.exception("bus_reconnect_listener_failed")
