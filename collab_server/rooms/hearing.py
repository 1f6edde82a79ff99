"""What a room does with the envelopes of other tasks.

Their content is checked like a client's; what is refused is counted and harms nobody. Never journals and never
publishes an update: the task that received it from a client has done both. Owned by `room`, called by the bus through
it.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import structlog

from collab_server.bus import Envelope, EnvelopeKind
from collab_server.crash_note import author_of
from collab_server.firewall import UpdateGap, UpdateRefused
from collab_server.rooms.peers import Peers
from collab_server.rooms.refusals import CRDT_FAILURE
from collab_server.rooms.replica import Replica, ReplicaBroken
from collab_server.wire.messages import MalformedMessage

if TYPE_CHECKING:
    from collab_server.rooms.room import Room

log = structlog.get_logger(__name__)


class Hearing:
    """The ears of one room."""

    __slots__ = ("_author", "_peers", "_replica", "_room")

    def __init__(self, room: Room, replica: Replica, peers: Peers) -> None:
        self._room = room
        self._replica = replica
        self._peers = peers
        self._author = author_of(room.document.id, "")

    def receive(self, envelope: Envelope) -> None:
        """Act on an envelope. Never raises for its content."""
        room = self._room
        if envelope.epoch not in (None, room.document.epoch):
            room.metrics.bus_refused["epoch"].inc()
            return
        if room.rebuild.sets_aside(envelope):
            return
        try:
            match envelope.kind:
                case EnvelopeKind.UPDATE | EnvelopeKind.SYNC_REPLY:
                    self._merge(envelope)
                case EnvelopeKind.AWARENESS:
                    room.cursors.show_remote(envelope, time.monotonic())
                case EnvelopeKind.SYNC_REQUEST:
                    self._peers.answer(envelope)
                case EnvelopeKind.DIGEST:
                    room.sentinel.hear(envelope)
                case EnvelopeKind.CONTROL:
                    return  # control envelopes come on their own channel
        except (UpdateRefused, MalformedMessage) as error:
            room.metrics.bus_refused["malformed"].inc()
            log.warning("envelope_refused", kind=envelope.kind.value, origin=envelope.origin, reason=str(error))
        except ReplicaBroken:
            room.metrics.bus_refused[CRDT_FAILURE].inc()
            room.rebuild.begin()

    def _merge(self, envelope: Envelope) -> None:
        room = self._room
        try:
            self._replica.author = self._author
            summary = self._replica.apply(envelope.body, room.leases.hear)
        except UpdateGap:
            room.metrics.gaps["bus"].inc()
            if envelope.kind is EnvelopeKind.UPDATE:  # a reply with a gap would ask for the same reply for ever
                self._peers.greet()
            return
        if summary is not None:
            room.heard(summary.instead or envelope.body)
