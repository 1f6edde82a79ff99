"""The scenarios a to j as plans: who is in which room, who looks, and what is sent when. Nothing here is per server.

Every number a reader of the tables needs is in the scenario's title. Called by `__main__` and the tests.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from bench.peers.edits import Edit, client_ids, moving, pasted, typing
from bench.peers.trace import people_typing

WARM_UP_S = 3.0
MEASURED_S = 8.0
STORM_JOINS = 200
ACROSS, TOGETHER = "i", "j"


@dataclass(frozen=True, slots=True)
class Plan:
    """What one run does. Edits are sorted by the time they are due; the first `warm_up_s` are not measured."""

    rooms: tuple[str, ...]  # of each member
    probes: frozenset[int]
    edits: tuple[Edit, ...]
    warm_up_s: float = WARM_UP_S
    measured_s: float = MEASURED_S
    prefill: tuple[bytes, ...] = ()  # updates of one more member of the first room, before anything else
    joins: int = 0  # members that come and go during the measured time
    tasks: tuple[int, ...] = ()  # which of two tasks each member joins; empty: there is one task
    fan_out: int = field(init=False)  # the other members an edit goes to

    def __post_init__(self) -> None:
        object.__setattr__(self, "fan_out", max(Counter(self.rooms).values()) - 1)


@dataclass(frozen=True, slots=True)
class Scenario:
    """A plan by its letter."""

    letter: str
    title: str
    plan: Callable[[float, float], Plan]  # of warm-up and measured seconds


def _by_time(edits: list[Edit]) -> tuple[Edit, ...]:
    return tuple(sorted(edits, key=lambda edit: edit.due_s))


def one_room(writers: int, readers: int, rate_per_s: float, warm_up_s: float, measured_s: float) -> Plan:
    """Everybody in one room; the first `writers` type. Probes are spread over both kinds."""
    members = writers + readers
    seconds = warm_up_s + measured_s
    edits: list[Edit] = []
    for member, client in enumerate(client_ids(writers)):
        edits += typing(member, client, rate_per_s, seconds, member / writers)
    probes = frozenset({0, members // 2, members - 1})
    return Plan(("room",) * members, probes, _by_time(edits), warm_up_s, measured_s)


def many_rooms(
    rooms: int, members: int, rate_per_s: float, warm_up_s: float, measured_s: float, watched_rooms: int = 5
) -> Plan:
    """Small rooms in which everybody types; the members of a few rooms are probes."""
    everybody = rooms * members
    seconds = warm_up_s + measured_s
    edits: list[Edit] = []
    for member, client in enumerate(client_ids(everybody)):
        edits += typing(member, client, rate_per_s, seconds, member / everybody)
    watched = range(0, rooms, max(rooms // watched_rooms, 1))
    probes = frozenset(room * members + seat for room in watched for seat in range(members))
    return Plan(
        tuple(f"room-{number // members}" for number in range(everybody)),
        probes,
        _by_time(edits),
        warm_up_s,
        measured_s,
    )


def two_tasks(rooms: int, rate_per_s: float, warm_up_s: float, measured_s: float, *, apart: bool) -> Plan:
    """Rooms of two who both type: one on each task, or both on one, half of the rooms on each."""
    plan = many_rooms(rooms, 2, rate_per_s, warm_up_s, measured_s, 20)
    return replace(plan, tasks=tuple(number % 2 if apart else number // 2 % 2 for number in range(2 * rooms)))


def idle(rooms: int, members: int, measured_s: float) -> Plan:
    """Small rooms in which nobody does anything."""
    names = tuple(f"room-{number // members}" for number in range(rooms * members))
    return Plan(names, frozenset(), (), 2.0, measured_s)


def join_storm(warm_up_s: float, measured_s: float) -> Plan:
    """A typist and a watcher in the room everybody joins, and the same in another room."""
    busy, calm, writer = client_ids(3)
    longest_s = warm_up_s + measured_s + 30.0  # the typing goes on until the last join is done
    edits = typing(0, busy, 20, longest_s) + typing(2, calm, 20, longest_s, 0.5)
    return Plan(
        ("room", "room", "other", "other"),
        frozenset({1, 3}),
        _by_time(edits),
        warm_up_s,
        measured_s,
        tuple(pasted(writer, 1_000_000, 1_000)),
        STORM_JOINS,
    )


def cursors(members: int, rate_per_s: float, warm_up_s: float, measured_s: float) -> Plan:
    """Everybody in one room moves a cursor."""
    seconds = warm_up_s + measured_s
    edits: list[Edit] = []
    for member, client in enumerate(client_ids(members)):
        edits += moving(member, client, rate_per_s, seconds, member / members)
    return Plan(("room",) * members, frozenset({0, members // 2}), _by_time(edits), warm_up_s, measured_s)


def four_people(readers: int, warm_up_s: float, measured_s: float) -> Plan:
    """Four people write one text together while others read it."""
    edits = people_typing(warm_up_s + measured_s)
    members = 4 + readers
    return Plan(("room",) * members, frozenset({0, 4, members - 1}), _by_time(edits), warm_up_s, measured_s)


SCENARIOS = {
    scenario.letter: scenario
    for scenario in (
        Scenario("a", "1 room, 50 writers, 5 edits/s each", lambda warm, timed: one_room(50, 0, 5, warm, timed)),
        Scenario("b", "1 room, 200 writers, 5 edits/s each", lambda warm, timed: one_room(200, 0, 5, warm, timed)),
        Scenario(
            "c",
            "400 rooms, 2 writers each, 5 edits/s each",
            lambda warm, timed: many_rooms(400, 2, 5, warm, timed),
        ),
        Scenario("d", "4,000 idle members, 4 in a room", lambda _warm, timed: idle(1_000, 4, timed)),
        Scenario("e", "200 joins of a 1 MB document, beside a typist at 20/s", join_storm),
        Scenario(
            "f",
            "1 room, 1 writer at 20 edits/s, 500 readers",
            lambda warm, timed: one_room(1, 500, 20, warm, timed),
        ),
        Scenario(
            "g",
            "1 room, 200 members, 10 cursor moves/s each",
            lambda warm, timed: cursors(200, 10, warm, timed),
        ),
        Scenario(
            "h",
            "1 room, 4 people writing a text (generated trace), 20 readers",
            lambda warm, timed: four_people(20, warm, timed),
        ),
        Scenario(
            ACROSS,
            "2 tasks, 200 rooms, 2 writers each, one on each task, 5 edits/s each",
            lambda warm, timed: two_tasks(200, 5, warm, timed, apart=True),
        ),
        Scenario(
            TOGETHER,
            "the same, both writers of a room on one task",
            lambda warm, timed: two_tasks(200, 5, warm, timed, apart=False),
        ),
    )
}
