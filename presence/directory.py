"""Who is where in the whole cluster: the port to the directory that all tasks write and anybody may read.

A *place* is an opaque word such as `document:report` or `workspace:7`; one seat may count in several. Every task writes
who has a seat with it, and only that; readers put the tasks together, person by person. The directory is for people
and operators: nothing that must be right (a right, a lease, a count of seats) may be read from it. Pure but for its
adapters: `directory_memory` (one process) and `directory_redis`. Written by `collab_server.attendance`, read by the
admin port and the facade.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from presence.roster import Person, Status

ALIVE_S = 10.0
"""How long a task counts as alive after its last `beat`: a killed one is to be gone everywhere within 15 s."""


class DirectoryUnavailable(Exception):
    """The directory does not answer now. Nobody waits for it: what it lacks is written when it is back."""


@dataclass(frozen=True, slots=True)
class Attendee:
    """One person at one place, on so many devices. `since` and `seated_at` (the newest seat) are Unix seconds."""

    person: Person
    status: Status
    devices: int
    since: float
    seated_at: float


@dataclass(frozen=True, slots=True)
class Occupancy:
    """Who is at a place, in the order they came, and the tasks that hold it, those where nobody sits included."""

    people: tuple[Attendee, ...]
    tasks: frozenset[str]


class Directory(Protocol):
    """One task's way into the directory. An adapter owes:

    - What a task writes after `begin` is seen by nobody until its next `beat`, then as a whole; what it writes later
      is seen at once.
    - A task that did not `beat` for `ALIVE_S` is not there: nothing it wrote is told to anybody.
    - One task's writes never touch what another wrote.
    - Everything may be lost at any time; `beat` then says so, and `begin` and writing all again mends it.
    - Every method may raise `DirectoryUnavailable`, within about a second; what became of a write is unknown then.
      Calls that write follow each other, never two of one task at once.
    """

    async def begin(self) -> None:
        """What is written from now on will replace everything this task has written before. Comes before all else."""

    async def write(self, places: Mapping[str, Sequence[Attendee] | None], paths: Mapping[str, Sequence[str]]) -> None:
        """Who sits at each of these places now (None: this task no longer holds it), and where each subject sits.

        In `paths` an empty sequence is a subject that has left this task.
        """

    async def beat(self) -> bool:
        """This task lives. False when what it wrote is lost: `begin`, and write all again."""

    async def leave(self) -> None:
        """This task is no more: nobody need wait for its silence."""

    async def at(self, place: str) -> Occupancy:
        """Everybody at `place`, on whichever task."""

    async def places_of(self, subject: str) -> tuple[str, ...]:
        """Where `subject` sits, on whichever tasks, sorted."""


def merged(attendees: Iterable[Attendee]) -> tuple[Attendee, ...]:
    """One entry a person, in the order they came: devices add up, being active anywhere counts, the newest seat names.

    The same whatever order the tasks are read in.
    """
    by_subject: dict[str, Attendee] = {}
    for each in attendees:
        known = by_subject.get(each.person.subject)
        by_subject[each.person.subject] = each if known is None else _together(known, each)
    return tuple(sorted(by_subject.values(), key=lambda one: (one.since, one.person.subject)))


def _together(one: Attendee, other: Attendee) -> Attendee:
    newest = max(one, other, key=lambda each: (each.seated_at, each.person.name, each.person.role))
    return Attendee(
        person=newest.person,
        status=Status.ACTIVE if Status.ACTIVE in (one.status, other.status) else Status.IDLE,
        devices=one.devices + other.devices,
        since=min(one.since, other.since),
        seated_at=newest.seated_at,
    )
