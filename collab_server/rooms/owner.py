"""The port between a room and whoever keeps it and cares for its storage: the registry."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collab_server.rooms.room import Room


class RoomOwner(Protocol):
    """Who keeps the room and cares for its storage."""

    def edited(self, room: Room) -> None:
        """An update was journaled."""

    def release(self, room: Room) -> None:
        """The room may have become empty."""

    def broken(self, room: Room) -> None:
        """The room's copy broke: run its rebuild."""

    def lost(self, room: Room) -> None:
        """The room gives up: whoever comes next needs a new one."""

    def behind(self, room: Room) -> None:
        """The room lacks what others build on: run its second look."""

    def refused(self, room: Room, actor_id: str, reason: str, update: bytes) -> None:
        """An update was refused: keep it apart."""

    def look_up_leases(self, room: Room) -> None:
        """The room has heard of client ids whose holders only the table can tell."""
