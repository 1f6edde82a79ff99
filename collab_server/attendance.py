"""Tells the directory who sits in the rooms of this task, and that this task lives.

Looks at the rooms twice a second instead of being told: one comparison a room, and nothing on the path of a message.
What changed is written together. In turn each room is looked at for who fell idle, and written anew, because the
directory may lose things unseen. While it is away nothing waits: what it lacks is written whole when it is back. Must
never be asked for anything: readers ask the directory. Built by `assembly`.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Protocol

import structlog

from collab_server.tasks import Tasks
from collab_server.telemetry import Metrics
from persistence.catalog import Document
from presence.directory import Attendee, Directory, DirectoryUnavailable, merged
from presence.roster import Present, Roster

log = structlog.get_logger(__name__)

LOOK_EVERY_S = 0.5
"""The most that somebody's coming or going is late, and what makes a hundred who come at once one write."""
BEAT_EVERY_S = 3.0
"""Three beats in a row may be lost before others take this task for dead."""
ROUND_S = 10.0
"""In this time each room is looked at for who fell idle."""
RENEW_EVERY_S = 300.0
"""In this time everything is written anew; what nobody wrote for three times as long Redis forgets."""
SLICE = 200
"""Places or subjects written at once: some 2 ms."""
ROOMS_A_TURN = 100
"""Rooms with news that are looked at between two turns of the loop: some 2 ms."""


class Seat(Hashable, Protocol):
    """The part of a member that is looked at: when it last wrote, monotonic."""

    @property
    def edited_at(self) -> float: ...


class Watched(Protocol):
    """The part of a room that is looked at."""

    @property
    def document(self) -> Document: ...
    @property
    def roster(self) -> Roster: ...
    @property
    def members(self) -> Iterable[Seat]: ...


def document_place(name: str) -> str:
    """The place of a document in the directory."""
    return f"document:{name}"


def own_place(document: Document) -> tuple[str, ...]:
    """Where somebody with a seat in `document` is: there. Documents belong to nothing larger yet."""
    return (document_place(document.name),)


@dataclass(slots=True)
class _Seen:
    """One room as the directory is to know it."""

    roster: Roster
    changes: int
    places: tuple[str, ...]
    people: tuple[Attendee, ...]
    idle: list[str]
    renew_at: float


class Attendance:
    """See the module. `rooms` are this task's by name; `places` says in which places a seat in a document counts."""

    def __init__(
        self,
        directory: Directory,
        rooms: Mapping[str, Watched],
        metrics: Metrics,
        *,
        places: Callable[[Document], Sequence[str]] = own_place,
        clock: Callable[[], float] | None = None,
    ) -> None:
        self._directory = directory
        self._rooms = rooms
        self._metrics = metrics
        self._places = places
        self._clock = clock or asyncio.get_running_loop().time
        self._unix = time.time() - self._clock()  # once: a time that is told must not move with every look
        self._seen: dict[str, _Seen] = {}
        self._rooms_at: dict[str, dict[str, None]] = {}
        self._rooms_of: dict[str, dict[str, None]] = {}
        self._round: list[str] = []
        self._dirty_places: dict[str, None] = {}
        self._dirty_subjects: dict[str, None] = {}
        self._beat_due = 0.0
        self._is_behind = True  # the directory knows nothing of this task yet, or nothing that can be relied on
        self._was_away = False
        self._watching = Tasks()

    def start(self) -> None:
        """Begin to look and to tell."""
        self._watching.start(self._watch(), "attendance")

    async def close(self) -> None:
        """Look no more, and tell the directory that this task is gone, if it answers."""
        await self._watching.close()
        try:
            await self._directory.leave()
        except DirectoryUnavailable as error:
            log.info("directory_not_told", reason=str(error))  # it forgets this task by itself

    async def _watch(self) -> None:
        while True:
            try:
                await self.step()
            except DirectoryUnavailable as error:
                self._fell_behind(str(error))
            except Exception:  # a fault of ours must not end presence for good
                log.exception("attendance_failed")
                self._fell_behind("fault")
            await asyncio.sleep(LOOK_EVERY_S)

    def _fell_behind(self, why: str) -> None:
        if not self._was_away:
            log.warning("directory_away", reason=why)
        self._was_away = self._is_behind = True
        self._metrics.presence_behind.set(1)

    async def step(self) -> None:
        """Look once and tell what is new. Raises `DirectoryUnavailable`: then all is told with the next step."""
        for _ in self.look(self._clock()):
            await asyncio.sleep(0)
        if self._is_behind:
            await self._begin()
        while self._dirty_places or self._dirty_subjects:
            await self._tell_some()
            if not self._is_behind and self._beat_due <= self._clock():
                await self._beat()
        if self._is_behind or self._beat_due <= self._clock():
            await self._beat()

    # Telling

    async def _begin(self) -> None:
        self._dirty_places.clear()  # an outage must not gather what has come and gone meanwhile
        self._dirty_subjects.clear()
        await self._directory.begin()
        self._dirty_places = dict.fromkeys(self._rooms_at)
        self._dirty_subjects = dict.fromkeys(self._rooms_of)

    async def _tell_some(self) -> None:
        places, subjects = _take(self._dirty_places), _take(self._dirty_subjects)
        try:
            await self._directory.write(
                {place: self._people_at(place) for place in places},
                {subject: self._places_of(subject) for subject in subjects},
            )
        except BaseException:
            self._is_behind = True  # nobody knows what of it was written
            raise

    async def _beat(self) -> None:
        if await self._directory.beat():
            self._beat_due = self._clock() + BEAT_EVERY_S
            if self._is_behind:
                self._is_behind = self._was_away = False
                self._metrics.presence_behind.set(0)
                log.info("directory_told", places=len(self._rooms_at), people=len(self._rooms_of))
        else:
            self._fell_behind("the directory has forgotten this task")

    def _people_at(self, place: str) -> tuple[Attendee, ...] | None:
        rooms = self._rooms_at.get(place)
        if rooms is None:
            return None
        found = [self._seen[name].people for name in rooms]
        return found[0] if len(found) == 1 else merged(each for people in found for each in people)

    def _places_of(self, subject: str) -> list[str]:
        return sorted({place for name in self._rooms_of.get(subject, ()) for place in self._seen[name].places})

    # Looking

    def look(self, now: float) -> Iterator[None]:
        """Note what changed in the rooms since the last look; gives way now and then."""
        seen, rooms = self._seen, self._rooms
        for number, name in enumerate([name for name, room in rooms.items() if _differs(seen.get(name), room)]):
            if name in rooms:
                self._take_in(name, rooms[name], now)
            if number % ROOMS_A_TURN == ROOMS_A_TURN - 1:
                yield
        if len(seen) > len(rooms):
            for name in seen.keys() - rooms.keys():
                self._forget(name)
        self._look_for_idle(now)

    def _look_for_idle(self, now: float) -> None:
        """The rooms whose turn it is: whether somebody fell idle or wrote again, and whether it is time to renew."""
        if not self._round:
            self._round = list(self._seen)
        for _ in range(min(len(self._round), math.ceil(len(self._seen) * LOOK_EVERY_S / ROUND_S))):
            name = self._round.pop()
            known, room = self._seen.get(name), self._rooms.get(name)
            if known is None or room is None:
                continue
            for seat in room.members:
                room.roster.touch(seat, now=seat.edited_at)
            if known.renew_at <= now or _differs(known, room) or known.idle != room.roster.idle(now=now):
                self._take_in(name, room, now)

    def _take_in(self, name: str, room: Watched, now: float) -> None:
        known = self._seen.get(name)
        if known is None:
            places = tuple(self._places(room.document))
            known = self._seen[name] = _Seen(room.roster, -1, places, (), [], 0.0)
            for place in places:
                self._rooms_at.setdefault(place, {})[name] = None
        people = tuple(self._attendee(each) for each in room.roster.people(now=now))
        before, after = _subjects(known.people), _subjects(people)
        for subject in after - before:
            self._rooms_of.setdefault(subject, {})[name] = None
        for subject in before - after:
            _remove(self._rooms_of, subject, name)
        is_renewal = known.renew_at <= now
        if is_renewal or known.people != people:
            self._dirty_places |= dict.fromkeys(known.places)
            self._dirty_subjects |= dict.fromkeys(before | after if is_renewal else before ^ after)
        if is_renewal:
            known.renew_at = now + RENEW_EVERY_S
        known.people, known.idle = people, room.roster.idle(now=now)
        known.roster, known.changes = room.roster, room.roster.changes

    def _forget(self, name: str) -> None:
        gone = self._seen.pop(name)
        for place in gone.places:
            _remove(self._rooms_at, place, name)
            self._dirty_places[place] = None
        for subject in _subjects(gone.people):
            _remove(self._rooms_of, subject, name)
            self._dirty_subjects[subject] = None

    def _attendee(self, present: Present) -> Attendee:
        since, seated_at = self._unix + present.since, self._unix + present.seated_at
        return Attendee(present.person, present.status, present.devices, round(since, 3), round(seated_at, 3))


def _differs(known: _Seen | None, room: Watched) -> bool:
    return known is None or known.changes != room.roster.changes or known.roster is not room.roster


def _subjects(people: Iterable[Attendee]) -> set[str]:
    return {each.person.subject for each in people}


def _take(dirty: dict[str, None]) -> list[str]:
    taken = list(islice(dirty, SLICE))
    for each in taken:
        del dirty[each]
    return taken


def _remove(rooms: dict[str, dict[str, None]], key: str, name: str) -> None:
    rooms[key].pop(name, None)
    if not rooms[key]:
        del rooms[key]
