"""Who is here: the members of a room, grouped by person. Pure.

One person with a laptop and a phone is one entry with two devices. `now` is in seconds of a monotonic clock. Must never
be asked what someone may do: roles are shown here, not checked. Called by the room, read by the admin port and, when
`changes` has grown, by the one who tells the directory.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from enum import StrEnum

IDLE_AFTER_S = 120.0
"""Without a keystroke or a cursor move for so long someone is shown as idle."""


class Status(StrEnum):
    """Being offline is not being in the roster."""

    ACTIVE = "active"
    IDLE = "idle"


@dataclass(frozen=True, slots=True)
class Person:
    """Who a seat belongs to, as the token said when it was taken."""

    subject: str
    name: str
    role: str


@dataclass(frozen=True, slots=True)
class Present:
    """One person here: with so many devices, since when, and when last seated and last active on any of them."""

    person: Person
    devices: int
    since: float
    seated_at: float
    active_at: float
    status: Status


@dataclass(slots=True)
class _Seat:
    person: Person
    since: float
    active_at: float


class Roster:
    """The seats of one room. A seat is anything hashable that stands for one connection.

    `changes` grows when somebody comes, goes, wakes up or gets another role; falling idle is for time to tell.
    """

    def __init__(self, *, idle_after_s: float = IDLE_AFTER_S) -> None:
        self.changes = 0
        self._idle_after_s = idle_after_s
        self._by_subject: dict[str, dict[Hashable, _Seat]] = {}
        self._subjects: dict[Hashable, str] = {}

    def enter(self, seat: Hashable, person: Person, *, now: float) -> bool:
        """Take a seat. Whether the person was not here before. Raises ValueError for a seat that is taken."""
        if seat in self._subjects:
            raise ValueError("this seat is taken")
        seats = self._by_subject.setdefault(person.subject, {})
        seats[seat] = _Seat(person, now, now)
        self._subjects[seat] = person.subject
        self.changes += 1
        return len(seats) == 1

    def leave(self, seat: Hashable) -> bool:
        """Give a seat back. Whether the person is gone now; False for a seat that is not taken."""
        subject = self._subjects.pop(seat, None)
        if subject is None:
            return False
        self.changes += 1
        seats = self._by_subject[subject]
        del seats[seat]
        if not seats:
            del self._by_subject[subject]
        return not seats

    def describe(self, seat: Hashable, person: Person) -> None:
        """The role or the name of whoever has this seat changed. A seat that is not taken is ignored.

        Raises ValueError for another subject: a seat never changes hands.
        """
        subject = self._subjects.get(seat)
        if subject is None:
            return
        if subject != person.subject:
            raise ValueError("this seat is somebody else's")
        self._by_subject[subject][seat].person = person
        self.changes += 1

    def touch(self, seat: Hashable, *, now: float) -> None:
        """The member of this seat did something at `now`, which may be a while ago.

        A seat that is not taken is ignored: the last frame may come late.
        """
        subject = self._subjects.get(seat)
        if subject is not None:
            taken = self._by_subject[subject][seat]
            if taken.active_at <= now - self._idle_after_s:
                self.changes += 1
            taken.active_at = max(taken.active_at, now)

    def people(self, *, now: float) -> list[Present]:
        """Everyone here, in the order they came."""
        return [self._present(list(seats.values()), now) for seats in self._by_subject.values()]

    def idle(self, *, now: float) -> list[str]:
        """The subjects of those who are here and idle, in the order they came."""
        latest = now - self._idle_after_s
        return [
            subject
            for subject, seats in self._by_subject.items()
            if all(seat.active_at <= latest for seat in seats.values())
        ]

    def devices(self) -> int:
        return len(self._subjects)

    def _present(self, seats: list[_Seat], now: float) -> Present:
        active_at = max(seat.active_at for seat in seats)
        return Present(
            person=seats[-1].person,  # the newest seat has the newest name and role
            devices=len(seats),
            since=min(seat.since for seat in seats),
            seated_at=seats[-1].since,
            active_at=active_at,
            status=Status.IDLE if active_at <= now - self._idle_after_s else Status.ACTIVE,
        )
