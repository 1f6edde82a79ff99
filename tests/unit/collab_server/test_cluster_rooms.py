"""Any task tells of the rooms of all: numbers add up, pages are bounded, and silence is never taken for absence."""

from __future__ import annotations

import time

import orjson

from auth.permissions import Role
from collab_server.cluster_rooms import NAMES, NUMBERS, WHOLE
from collab_server.room_merge import merged
from collab_server.room_report import numbers
from collab_server.wire.messages import Update
from tests.unit.collab_server.clusters import Task, cluster_of
from tests.unit.collab_server.rooms.parts import until
from tests.unit.collab_server.rooms.test_replica import typed


async def seat(task: Task, document: str, *subjects: str) -> None:
    room = await task.at.room(document)
    for subject in subjects:
        task.at.join(room, subject=subject)


async def test_one_room_on_two_tasks_is_one_line_with_what_each_task_counts() -> None:
    async with cluster_of(3) as (one, two, three):
        await seat(one, "shared", "ada", "bob")
        await seat(two, "shared", "ada")
        await seat(three, "elsewhere", "eve")
        ada = one.at.join(await one.at.room("shared"), subject="ada")
        ada.send(Update(typed("hello")[0]))
        there = await two.at.room("shared")
        await until(lambda: there.updates == 1)
        page = await three.rooms.page(10, None)
        assert (page["partial"], page["silent"], page["cut_off"], page["rooms_open"]) == (False, [], False, 3)
        assert [(room["document"], room["members"]) for room in page["rooms"]] == [("shared", 4), ("elsewhere", 1)]
        shared = page["rooms"][0]
        assert (shared["updates"], shared["dirty_updates"], shared["operations"]) == (1, 1, 5)
        assert shared["level"]
        assert {task: told["members"] for task, told in shared["tasks"].items()} == {one.id: 3, two.id: 1}


async def test_a_copy_that_lacks_something_is_told_with_how_much() -> None:
    async with cluster_of(2) as (one, two):
        people = [task.at.join(await task.at.room("shared")) for task in (one, two)]
        two.cut()
        for person, words in zip(people, ("hello", "he"), strict=True):
            person.send(Update(typed(words)[0]))
        by_task = {task.id: numbers(await task.at.room("shared")) for task in (one, two)}
        together = merged(by_task)
        assert not together["level"]
        assert together["operations"] == 5
        assert {task: told["behind"] for task, told in together["tasks"].items()} == {one.id: 0, two.id: 3}
        assert merged({one.id: by_task[one.id]})["level"]


async def test_a_room_is_told_whole_with_people_and_the_seats_of_every_task() -> None:
    async with cluster_of(2) as (one, two):
        await seat(one, "shared", "ada", "bob")
        await seat(two, "shared", "ada")
        room, heard = await two.rooms.one("shared", 100)
        assert room is not None
        assert not heard.is_partial
        assert {(person["subject"], person["devices"]) for person in room["people"]} == {("ada", 2), ("bob", 1)}
        assert sorted((entry["task"], entry["subject"]) for entry in room["seats"]) == sorted(
            [(one.id, "ada"), (one.id, "bob"), (two.id, "ada")]
        )
        assert room["state_vector"] == "AA=="
        few, _heard = await two.rooms.one("shared", 1)
        assert few is not None
        assert len(few["seats"]) == 2  # one of each task
        assert few["members"] == 3


async def test_with_here_only_this_task_is_asked() -> None:
    async with cluster_of(2, timeout_s=0.05) as (one, two):
        await seat(one, "mine", "ada")
        await seat(two, "theirs", "bob")
        two.cut()
        page = await one.rooms.page(10, None, here=True)
        assert [room["document"] for room in page["rooms"]] == ["mine"]
        assert not page["partial"]
        assert (await one.rooms.one("theirs", 10, here=True))[0] is None


async def test_who_is_silent_is_named_within_the_deadline_and_the_rest_is_told() -> None:
    async with cluster_of(3, timeout_s=0.1) as (one, two, three):
        await seat(one, "a", "ada")
        await seat(two, "b", "bob")
        await seat(three, "c", "eve")
        three.cut()
        began = time.monotonic()
        page = await one.rooms.page(10, None)
        assert time.monotonic() - began < 5
        assert [room["document"] for room in page["rooms"]] == ["a", "b"]
        assert (page["partial"], page["silent"]) == (True, [three.id])
        room, heard = await one.rooms.one("c", 10)
        assert room is None
        assert heard.silent == {three.id}


async def test_a_task_whose_bus_is_away_says_that_there_may_be_others() -> None:
    async with cluster_of(1) as (one,):
        one.connected[0] = False
        page = await one.rooms.page(10, None)
        assert (page["partial"], page["silent"], page["cut_off"]) == (True, [], True)
        assert not (await one.rooms.page(10, None, here=True))["partial"]


async def test_pages_by_name_bring_every_room_once() -> None:
    async with cluster_of(2) as (one, two):
        for number in range(7):
            await seat(one if number % 2 else two, f"room-{number}")
        await seat(one, "room-4")  # on both
        seen, after = list[str](), ""
        while after is not None:
            page = await two.rooms.page(3, after)
            seen += [room["document"] for room in page["rooms"]]
            after = page["after"]
        assert seen == [f"room-{number}" for number in range(7)]


async def test_the_rooms_with_most_members_come_first_and_no_more_than_asked_for() -> None:
    async with cluster_of(2) as (one, two):
        for number in range(5):
            await seat(one, f"room-{number}", *(f"person-{seat}" for seat in range(number)))
        await seat(two, "room-1", *(f"guest-{seat}" for seat in range(9)))
        page = await one.rooms.page(3, None)
        assert [(room["document"], room["members"]) for room in page["rooms"]] == [
            ("room-1", 10),
            ("room-4", 4),
            ("room-3", 3),
        ]


async def test_ten_thousand_rooms_put_few_bytes_on_the_bus_and_take_the_loop_no_50_ms() -> None:
    async with cluster_of(1) as (one,):
        room = await one.at.room("room-00000")
        one.at.join(room, Role.EDITOR)
        held = one.at.registry.rooms
        held.update({f"room-{number:05}": room for number in range(10_000)})
        answers = one.cluster.control._answers
        for word, body in (
            (NAMES, {"limit": 500, "after": None}),
            (NAMES, {"limit": 500, "after": "room-05000"}),
            (NUMBERS, {"names": [f"room-{number:05}" for number in range(500)]}),
            (WHOLE, {"document": "room-00007", "seats": 100}),
        ):
            began = time.thread_time()
            told = await answers[word](body)
            assert time.thread_time() - began < 0.05, word
            assert len(orjson.dumps(told)) < 300_000, word
        for number in range(1, 10_000):
            del held[f"room-{number:05}"]
