"""What the directory is told: who came, went and fell idle, soon; all of it when it may have lost something."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from uuid import uuid4

import pytest

from collab_server.attendance import (
    BEAT_EVERY_S,
    LOOK_EVERY_S,
    RENEW_EVERY_S,
    ROOMS_A_TURN,
    ROUND_S,
    Attendance,
    Seat,
    document_place,
)
from collab_server.telemetry import Metrics
from persistence.catalog import Document
from presence.directory import ALIVE_S, Attendee, DirectoryUnavailable
from presence.directory_memory import Board, MemoryDirectory
from presence.roster import IDLE_AFTER_S, Person, Roster, Status
from tests.unit.collab_server.rooms.parts import until

ADA, BOB = Person("ada", "Ada", "editor"), Person("bob", "Bob", "viewer")


class Chair:
    """A seat that says when it wrote last."""

    def __init__(self, edited_at: float) -> None:
        self.edited_at = edited_at


@dataclass
class OpenRoom:
    """As much of a room as is looked at."""

    document: Document
    roster: Roster = field(default_factory=Roster)
    members: list[Seat] = field(default_factory=list)

    def enter(self, person: Person, now: float) -> Chair:
        chair = Chair(now)
        self.members.append(chair)
        self.roster.enter(chair, person, now=now)
        return chair

    def leave(self, chair: Chair) -> None:
        self.members.remove(chair)
        self.roster.leave(chair)


class CountingDirectory(MemoryDirectory):
    """The memory adapter; notes which places were written."""

    written: list[str]

    async def write(self, places: Mapping[str, Sequence[Attendee] | None], paths: Mapping[str, Sequence[str]]) -> None:
        self.written = [*self.written, *places] if hasattr(self, "written") else [*places]
        await super().write(places, paths)


class Task:
    """One task's rooms and what it tells; its clock stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 5_000.0
        self.rooms: dict[str, OpenRoom] = {}
        self.board = Board(lambda: self.now)
        self.directory = CountingDirectory("task-1", self.board)
        self.reader = MemoryDirectory("reader", self.board)
        self.metrics = Metrics()
        self.attendance = Attendance(
            self.directory, self.rooms, self.metrics, places=self.places, clock=lambda: self.now
        )

    def places(self, document: Document) -> list[str]:
        """Documents whose name has a slash belong to a workspace."""
        workspace, _, _ = document.name.rpartition("/")
        return [document_place(document.name), *([f"workspace:{workspace}"] if workspace else [])]

    def open(self, name: str) -> OpenRoom:
        room = self.rooms[name] = OpenRoom(Document(uuid4(), name, 0))
        return room

    async def step(self, after_s: float = LOOK_EVERY_S) -> list[str]:
        """The places that the next step writes."""
        self.now += after_s
        self.directory.written = []
        await self.attendance.step()
        return self.directory.written

    async def people(self, place: str) -> list[tuple[str, Status, int]]:
        found = await self.reader.at(place)
        return [(each.person.subject, each.status, each.devices) for each in found.people]

    @property
    def is_behind(self) -> float | None:
        return self.metrics.registry.get_sample_value("collab_presence_behind")


@pytest.fixture
async def task() -> Task:
    return Task()


async def test_who_comes_and_goes_is_told_with_the_next_look(task: Task) -> None:
    room = task.open("demo")
    await task.step()
    assert (await task.reader.at("document:demo")).tasks == {"task-1"}
    chair = room.enter(ADA, task.now)
    room.enter(ADA, task.now)
    room.enter(BOB, task.now)
    assert await task.step() == ["document:demo"]
    assert await task.people("document:demo") == [("ada", Status.ACTIVE, 2), ("bob", Status.ACTIVE, 1)]
    room.leave(chair)
    await task.step()
    assert await task.people("document:demo") == [("ada", Status.ACTIVE, 1), ("bob", Status.ACTIVE, 1)]
    del task.rooms["demo"]
    await task.step()
    assert (await task.reader.at("document:demo")).tasks == frozenset()
    assert await task.reader.places_of("ada") == ()


async def test_times_are_those_of_the_clock_on_the_wall(task: Task) -> None:
    room = task.open("demo")
    room.enter(ADA, task.now - 60)
    await task.step()
    (ada,) = (await task.reader.at("document:demo")).people
    assert time.time() - 70 < ada.since < time.time() - 50


async def test_what_did_not_change_is_not_written_again(task: Task) -> None:
    for name in ("one", "two", "three"):
        task.open(name).enter(ADA, task.now)
    await task.step()
    for _ in range(int(2 * ROUND_S / LOOK_EVERY_S)):
        assert await task.step() == []


async def test_a_new_role_or_name_of_a_seat_is_told(task: Task) -> None:
    room = task.open("demo")
    chair = room.enter(ADA, task.now)
    await task.step()
    room.roster.change(chair, Person("ada", "Ada", "viewer"))
    await task.step()
    (ada,) = (await task.reader.at("document:demo")).people
    assert ada.person.role == "viewer"


async def test_who_does_nothing_is_idle_until_it_writes_or_moves(task: Task) -> None:
    room = task.open("demo")
    chair = room.enter(ADA, task.now)
    await task.step()
    for _ in range(int(ROUND_S / LOOK_EVERY_S)):
        await task.step(IDLE_AFTER_S / (ROUND_S / LOOK_EVERY_S))
    assert await task.people("document:demo") == [("ada", Status.IDLE, 1)]
    room.roster.touch(chair, now=task.now)  # a cursor: told with the next look
    await task.step()
    assert await task.people("document:demo") == [("ada", Status.ACTIVE, 1)]
    await task.step(IDLE_AFTER_S)
    for _ in range(int(ROUND_S / LOOK_EVERY_S)):
        await task.step()
    assert await task.people("document:demo") == [("ada", Status.IDLE, 1)]
    chair.edited_at = task.now  # text alone: told when it is the room's turn
    for _ in range(int(ROUND_S / LOOK_EVERY_S)):
        await task.step()
    assert await task.people("document:demo") == [("ada", Status.ACTIVE, 1)]


async def test_a_place_of_several_rooms_has_the_people_of_all(task: Task) -> None:
    report, plan = task.open("w/report"), task.open("w/plan")
    report.enter(ADA, task.now)
    chair = plan.enter(ADA, task.now)
    plan.enter(BOB, task.now)
    await task.step()
    assert await task.people("workspace:w") == [("ada", Status.ACTIVE, 2), ("bob", Status.ACTIVE, 1)]
    assert await task.reader.places_of("ada") == ("document:w/plan", "document:w/report", "workspace:w")
    plan.leave(chair)
    await task.step()
    assert await task.people("workspace:w") == [("ada", Status.ACTIVE, 1), ("bob", Status.ACTIVE, 1)]
    assert await task.reader.places_of("ada") == ("document:w/report", "workspace:w")
    del task.rooms["w/plan"]
    await task.step()
    assert await task.people("workspace:w") == [("ada", Status.ACTIVE, 1)]


async def test_a_room_opened_anew_between_two_looks_is_the_one_that_counts(task: Task) -> None:
    task.open("demo").enter(ADA, task.now)
    await task.step()
    task.open("demo").enter(BOB, task.now)
    await task.step()
    assert await task.people("document:demo") == [("bob", Status.ACTIVE, 1)]
    assert await task.reader.places_of("ada") == ()


async def test_a_quiet_task_stays_alive_and_writes_all_it_has_anew_now_and_then(task: Task) -> None:
    names = {f"document:{number}" for number in range(50)}
    for number in range(50):
        task.open(str(number)).enter(ADA, task.now)
    await task.step()
    written: list[str] = []
    for _ in range(int(1.3 * RENEW_EVERY_S / BEAT_EVERY_S)):
        written += await task.step(BEAT_EVERY_S)
        assert (await task.reader.at("document:7")).tasks == {"task-1"}
    assert written.count("document:7") == 2  # fallen idle, and anew
    assert set(written) == names


async def test_what_happens_during_an_outage_is_told_whole_after_it(task: Task) -> None:
    demo, gone = task.open("demo"), task.open("gone")
    chair = demo.enter(ADA, task.now)
    gone.enter(ADA, task.now)
    await task.step()
    task.board.away = True
    demo.leave(chair)
    demo.enter(BOB, task.now)
    del task.rooms["gone"]
    for _ in range(3):
        with pytest.raises(DirectoryUnavailable):
            await task.step()
    task.board.away = False
    await task.step()
    assert await task.people("document:demo") == [("bob", Status.ACTIVE, 1)]
    assert (await task.reader.at("document:gone")).tasks == frozenset()
    assert await task.reader.places_of("ada") == ()


async def test_a_directory_that_forgot_this_task_is_told_all_again(task: Task) -> None:
    task.open("demo").enter(ADA, task.now)
    await task.step()
    task.board.lose()
    await task.step(BEAT_EVERY_S)  # finds out
    await task.step()
    assert await task.people("document:demo") == [("ada", Status.ACTIVE, 1)]
    task.now += ALIVE_S + 1  # this task stood still for that long
    await task.step()
    await task.step()
    assert await task.people("document:demo") == [("ada", Status.ACTIVE, 1)]


async def test_an_outage_shows_as_a_metric_and_ends_nothing(task: Task) -> None:
    task.open("demo").enter(ADA, task.now)
    task.board.away = True
    task.attendance.start()
    await until(lambda: task.is_behind == 1)
    task.board.away = False
    await until(lambda: task.is_behind == 0)
    assert await task.people("document:demo") == [("ada", Status.ACTIVE, 1)]
    await task.attendance.close()
    assert (await task.reader.at("document:demo")).tasks == frozenset()


async def test_a_directory_that_is_away_at_the_end_holds_nobody_up(task: Task) -> None:
    task.board.away = True
    task.attendance.start()
    async with asyncio.timeout(5):
        await task.attendance.close()


async def test_many_rooms_with_news_hold_nobody_up(task: Task) -> None:
    """Two thousand who come back at once: the loop has its turn between them; and quiet rooms cost next to nothing."""
    for number in range(2_000):
        room = task.open(str(number))
        room.enter(Person(f"person-{number}", "P", "editor"), task.now)
        room.enter(BOB, task.now)
    turns = sum(1 for _ in task.attendance.look(task.now))
    assert turns == 2_000 / ROOMS_A_TURN
    took_s = []
    for _ in range(5):
        begun = time.thread_time()
        assert list(task.attendance.look(task.now)) == []
        took_s.append(time.thread_time() - begun)
    assert min(took_s) < 0.01  # 1 ms here, every 0.5 s
