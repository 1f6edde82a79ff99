"""Who sits in which room of a load run, and which words are still on their way to a peer.

All members of a room run in one locust process, so one clock times both ends and nothing but a running number travels
in the document. Pure: `now` is an argument, in seconds of any monotonic clock. Called by locustfile.py.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

LOST_AFTER_S = 10.0
"""A word no peer has seen by then is counted as lost: two heartbeats of the cluster's own repair."""


@dataclass(slots=True)
class Room:
    """One room: its seats are numbered from 0 and each watches the words of the one before it, in a ring."""

    name: str
    seats: int
    taken: int = 0
    stopped: int = 0
    texts: dict[int, Callable[[], str]] = field(default_factory=dict)
    _watched: set[int] = field(default_factory=set)
    _flying: dict[int, deque[tuple[int, float]]] = field(default_factory=dict)

    def watched_by(self, seat: int) -> int:
        """The author whose words `seat` times."""
        return (seat - 1) % self.seats

    def watch(self, seat: int) -> None:
        """From now on `seat`, in sync, sees what its author writes."""
        self._watched.add(self.watched_by(seat))

    def wrote(self, author: int, number: int, now: float) -> None:
        """The word `number` of `author` leaves; forgotten at once where nobody watches yet."""
        if author in self._watched:
            self._flying.setdefault(author, deque()).append((number, now))

    def saw(self, author: int, number: int, now: float) -> list[float]:
        """Seconds that each word of `author` up to `number` took, for those not yet seen."""
        flying = self._flying.get(author, deque())
        latencies = []
        while flying and flying[0][0] <= number:
            latencies.append(now - flying.popleft()[1])
        return latencies

    def lost(self, author: int, now: float) -> int:
        """How many words of `author` have been on their way for too long; they are forgotten."""
        flying = self._flying.get(author, deque())
        lost = 0
        while flying and now - flying[0][1] > LOST_AFTER_S:
            flying.popleft()
            lost += 1
        return lost

    @property
    def everyone_stopped(self) -> bool:
        return self.stopped >= self.taken

    @property
    def in_agreement(self) -> bool:
        """Whether all members hold the same text."""
        return len({text() for text in self.texts.values()}) <= 1


@dataclass(slots=True)
class Seating:
    """Fills one room after the other. `run` keeps the rooms of two runs, or of two processes, apart."""

    run: str
    seats_per_room: int
    rooms: list[Room] = field(default_factory=list)

    def take(self) -> tuple[Room, int]:
        """The next free seat: its room and its number."""
        if not self.rooms or self.rooms[-1].taken == self.rooms[-1].seats:
            self.rooms.append(Room(f"load-{self.run}-{len(self.rooms)}", self.seats_per_room))
        room = self.rooms[-1]
        room.taken += 1
        return room, room.taken - 1
