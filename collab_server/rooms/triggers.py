"""When a room's checkpoint is due, and when one that failed is tried again. Decides only; waits for nothing.

It must never let many rooms be due in one moment: every bound is drawn for each room, and retries are drawn from an
interval that doubles. Called by the registry, for every edit: so `edited` is a look-up and two comparisons.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

from collab_server.rooms.room import Room

# Rooms filled by one deploy or one load test: of each time, and of each amount, which the setting bounds.
SPREAD_TIME, SPREAD_AMOUNT = (0.75, 1.25), (0.75, 1.0)
RETRY_FIRST_S, RETRY_CAP_S = 10.0, 300.0  # storage that just failed is left alone for a while
MOST_DOUBLINGS = 10

Draw = Callable[[float, float], float]


@dataclass(frozen=True, slots=True)
class RoomRules:
    """When a room is checkpointed and when it is dropped."""

    checkpoint_after_updates: int
    checkpoint_after_bytes: int
    checkpoint_after_s: float
    grace_s: float
    max_rooms: int = 10_000
    rebuild_timeout_s: float = 10.0  # stock clients leave after 30 s without a word; 20 MB load in one


@dataclass(slots=True)
class Due:
    """When one room is checkpointed: at a time, or as soon as it has so many updates or bytes that no checkpoint has.

    `not_before` is the end of a pause after a failure: until then, neither.
    """

    at: float
    updates: float
    size_bytes: float
    not_before: float = 0.0


class Triggers:
    """The rooms whose checkpoint is due at some time. `now` is on the registry's clock (seconds)."""

    def __init__(self, rules: RoomRules, draw: Draw = random.uniform) -> None:
        self._rules = rules
        self._draw = draw
        self._due: dict[Room, Due] = {}
        self._failures: dict[Room, int] = {}

    def edited(self, room: Room, now: float) -> None:
        """A room has an update that no checkpoint holds."""
        due = self._due.get(room)
        if due is None:
            rules = self._rules
            self._due[room] = due = Due(
                now + rules.checkpoint_after_s * self._draw(*SPREAD_TIME),
                rules.checkpoint_after_updates * self._draw(*SPREAD_AMOUNT),
                rules.checkpoint_after_bytes * self._draw(*SPREAD_AMOUNT),
            )
        if room.dirty_updates >= due.updates or room.dirty_bytes >= due.size_bytes:
            due.at = due.not_before

    def take(self, now: float) -> list[Room]:
        """The rooms that are due; each is due again with its next edit."""
        taken = [room for room, due in self._due.items() if due.at <= now]
        for room in taken:
            del self._due[room]
        return taken

    def failed(self, room: Room, now: float) -> None:
        """A checkpoint failed: the room is due again after a random part of a pause that doubles with each failure."""
        failures = self._failures[room] = self._failures.get(room, 0) + 1
        pause_s = min(RETRY_CAP_S, RETRY_FIRST_S * 2 ** min(failures - 1, MOST_DOUBLINGS))
        at = now + pause_s * self._draw(0.5, 1.0)
        self._due[room] = Due(at, 0, 0, not_before=at)

    def succeeded(self, room: Room) -> None:
        """A checkpoint was made, or was not needed."""
        self._failures.pop(room, None)

    def forget(self, room: Room) -> None:
        """The room is no longer due: it is dropped, or its checkpoint is being made."""
        self._due.pop(room, None)

    def drop(self, room: Room) -> None:
        """The room leaves memory."""
        self._due.pop(room, None)
        self._failures.pop(room, None)

    def grace_s(self) -> float:
        """How long a room stays that has just become empty: rooms that empty together are not dropped together."""
        return self._rules.grace_s * self._draw(1.0, SPREAD_TIME[1])
