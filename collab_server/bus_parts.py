"""What every bus adapter is made of: the bounded queue of what goes out and the table of who hears what.

Neither may ever wait, and neither knows how envelopes travel. Called by `bus_memory` and `bus_redis`.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, KeysView, Sequence
from uuid import UUID

import structlog

from collab_server.bus import Envelope, EnvelopeKind, Receive

log = structlog.get_logger(__name__)

AWARENESS_BYTES = 256 * 1024
"""Behind so much no awareness is queued: who lives shows itself again, and after an outage all are told of."""

ENVELOPE_BYTES = 200
"""What an envelope costs in the queue beside its body."""


class OutgoingQueue:
    """Envelopes waiting for the way out, bounded in bytes: when it is full the oldest are dropped and counted.

    Oldest first, because a room that lost some asks for a diff anyway and then the newest are the ones it still lacks.
    """

    __slots__ = ("_max_bytes", "_waiting", "dropped", "queued_bytes")

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._waiting: deque[Envelope] = deque()
        self.queued_bytes = 0
        self.dropped = 0

    def __len__(self) -> int:
        return len(self._waiting)

    def put(self, envelope: Envelope) -> None:
        """Append; an envelope above the whole bound is dropped itself and costs the others nothing."""
        size = len(envelope.body) + ENVELOPE_BYTES
        if self.queued_bytes > AWARENESS_BYTES and envelope.kind is EnvelopeKind.AWARENESS:
            return  # it would be old before it is sent, and would push updates out
        if size > self._max_bytes:
            self.dropped += 1
            return
        self._waiting.append(envelope)
        self.queued_bytes += size
        self._drop_oldest()

    def put_back(self, envelopes: Sequence[Envelope]) -> None:
        """Return what could not be sent to the front, in its order."""
        self._waiting.extendleft(reversed(envelopes))
        self.queued_bytes += sum(len(envelope.body) + ENVELOPE_BYTES for envelope in envelopes)
        self._drop_oldest()

    def take(self, max_bytes: int) -> list[Envelope]:
        """The oldest envelopes up to `max_bytes` together, at least one unless the queue is empty."""
        batch: list[Envelope] = []
        left = max_bytes
        while self._waiting and (not batch or len(self._waiting[0].body) + ENVELOPE_BYTES <= left):
            envelope = self._waiting.popleft()
            batch.append(envelope)
            size = len(envelope.body) + ENVELOPE_BYTES
            left -= size
            self.queued_bytes -= size
        return batch

    def _drop_oldest(self) -> None:
        while self.queued_bytes > self._max_bytes:
            self.queued_bytes -= len(self._waiting.popleft().body) + ENVELOPE_BYTES
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
