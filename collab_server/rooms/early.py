"""What other tasks say of a document while it is being loaded: kept, and heard in its order once there is a room.

An envelope that builds on one before it has a gap without that, so none may overtake those that waited. Bounded: what
is beyond is asked for when the room greets the others. Called by the registry.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from collab_server.bus import Envelope

if TYPE_CHECKING:
    from collab_server.rooms.room import Room

MOST_BYTES = 8 * 1024 * 1024


class Early:
    """The ears of a room to be."""

    __slots__ = ("_bytes", "_room", "_waiting")

    def __init__(self) -> None:
        self._waiting: list[Envelope] = []
        self._bytes = 0
        self._room: Room | None = None

    def receive(self, envelope: Envelope) -> None:
        """Keep an envelope, or pass it on."""
        if self._room is not None:
            self._room.receive(envelope)
        elif self._bytes < MOST_BYTES:
            self._bytes += len(envelope.body)
            self._waiting.append(envelope)

    def pass_on(self, room: Room) -> None:
        """There is the room: it hears all that waited, and then what comes."""
        waiting, self._waiting = self._waiting, []
        for envelope in waiting:
            room.receive(envelope)
        self._room = room
