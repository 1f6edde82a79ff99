"""What an operator asks of one task happens on all, outlasts lost words, and loses nothing."""

from __future__ import annotations

import asyncio

import pytest

from collab_server.cluster_acts import NoSuchDocument
from collab_server.errors import Close, Refused
from collab_server.rooms.member import FROZEN
from collab_server.wire.messages import PermissionDenied, SyncStep1, SyncStep2, Update
from persistence.journal import JournalUnavailable
from tests.unit.collab_server.clusters import cluster_of
from tests.unit.collab_server.rooms.parts import Person, until
from tests.unit.collab_server.rooms.test_replica import typed


def told(person: Person) -> list[str]:
    return [message.reason for message in person.messages if isinstance(message, PermissionDenied)]


def reasons(*people: Person) -> list[Close]:
    return [refusal.reason for person in people for refusal in person.refusals]


async def test_who_is_kicked_on_one_task_loses_the_seats_on_all_and_gets_no_new_one() -> None:
    async with cluster_of(3) as (one, two, three):
        rooms = [await task.at.room() for task in (one, two)]
        phone, laptop = one.at.join(rooms[0], subject="mallory"), two.at.join(rooms[1], subject="mallory")
        bob = two.at.join(rooms[1], subject="bob")
        result = await three.acts.kick("demo", "mallory", 60, "root")
        assert reasons(phone, laptop, bob) == [Close.KEPT_OUT, Close.KEPT_OUT]
        assert {task: did["closed"] for task, did in result["tasks"].items()} == {one.id: 1, two.id: 1}
        assert not result["partial"]
        for task in (one, two, three):  # the third opens it now for the first time
            with pytest.raises(Refused, match="keeps you out"):
                (await task.at.room()).ruling.check_seat("mallory")


async def test_a_kick_for_no_time_closes_the_seats_with_a_code_that_says_come_back_and_ends_an_exclusion() -> None:
    async with cluster_of(2) as (one, two):
        room = await two.at.room()
        await one.acts.kick("demo", "mallory", 60, "root")
        await one.acts.kick("demo", "mallory", 0, "root")
        room.ruling.check_seat("mallory")
        mallory = two.at.join(room, subject="mallory")
        await one.acts.kick("demo", "mallory", 0, "root")
        assert reasons(mallory) == [Close.CLOSED_BY_OPERATOR]


async def test_a_kick_that_a_task_did_not_hear_of_takes_effect_there_all_the_same() -> None:
    async with cluster_of(2, timeout_s=0.05) as (one, two):
        mallory = two.at.join(await two.at.room(), subject="mallory")
        two.cut()
        result = await one.acts.kick("demo", "mallory", 60, "root")
        assert (result["partial"], result["silent"]) == (True, [two.id])
        await until(lambda: reasons(mallory) == [Close.KEPT_OUT])


async def test_a_freeze_holds_on_every_task_and_ends_on_every_task() -> None:
    async with cluster_of(2) as (one, two):
        rooms = [await task.at.room() for task in (one, two)]
        people = [task.at.join(room) for task, room in zip((one, two), rooms, strict=True)]
        people[0].send(SyncStep2(b"\x00\x00"))  # its answer to being asked when it came
        result = await one.acts.freeze("demo", "root")
        assert result["changed"]
        assert {did["frozen"] for did in result["tasks"].values()} == {True}
        assert [told(person) for person in people] == [[FROZEN], [FROZEN]]
        people[1].send(Update(typed("x")[0]))
        assert rooms[1].clocks == {}
        assert not (await two.acts.freeze("demo", "root"))["changed"]
        asked = sum(isinstance(message, SyncStep1) for message in people[0].messages)
        assert (await two.acts.unfreeze("demo"))["changed"]
        assert sum(isinstance(message, SyncStep1) for message in people[0].messages) == asked + 1


async def test_a_document_that_nobody_has_open_can_be_frozen_and_one_that_does_not_exist_cannot() -> None:
    async with cluster_of(2) as (one, two):
        await one.at.catalog.find_or_create("closed")
        assert (await one.acts.freeze("closed", "root"))["tasks"] == {}
        assert (await two.at.room("closed")).ruling.frozen
        for act in (lambda: one.acts.freeze("none", "root"), lambda: one.acts.kick("none", "ada", 1, "root")):
            with pytest.raises(NoSuchDocument):
                await act()


async def test_a_room_that_is_being_loaded_while_its_document_is_frozen_opens_frozen() -> None:
    async with cluster_of(2) as (one, two):
        document = await one.at.catalog.find_or_create("demo")
        room, result = await asyncio.gather(two.at.registry.open(document), one.acts.freeze("demo", "root"))
        assert room.ruling.frozen
        assert not result["partial"]


async def test_an_evicted_room_is_gone_everywhere_and_comes_back_from_storage_with_every_edit() -> None:
    async with cluster_of(2) as (one, two):
        rooms = [await task.at.room() for task in (one, two)]
        people = [task.at.join(room) for task, room in zip((one, two), rooms, strict=True)]
        people[0].send(Update(typed("hello")[0]))
        result = await two.acts.evict("demo")
        assert {did["evicted"] for did in result["tasks"].values()} == {True}
        assert sum(did["moved"] for did in result["tasks"].values()) == 2
        assert reasons(*people) == [Close.CLOSED_BY_OPERATOR] * 2
        assert one.at.registry.rooms == two.at.registry.rooms == {}
        generations = one.at.table.kept((await one.at.catalog.find_or_create("demo")).id)
        assert generations
        again = await two.at.room()
        assert sum(again.clocks.values()) == len("hello")


async def test_a_room_that_storage_does_not_take_is_not_evicted() -> None:
    async with cluster_of(1) as (one,):
        room = await one.at.room()
        ada = one.at.join(room)
        ada.send(Update(typed("hello")[0]))

        async def away(*_: object) -> None:
            raise JournalUnavailable("no answer")

        one.at.checkpointer.checkpoint = away  # type: ignore[method-assign,assignment]
        result = await one.acts.evict("demo")
        assert [did["evicted"] for did in result["tasks"].values()] == [False]
        assert reasons(ada) == []
        assert (await one.at.room()) is room


async def test_a_checkpoint_is_made_by_one_task_that_holds_the_room() -> None:
    async with cluster_of(3) as (one, two, three):
        rooms = [await task.at.room() for task in (one, two)]
        two.at.join(rooms[1])
        ada = two.at.join(rooms[1])
        ada.send(Update(typed("hello")[0]))
        result = await three.acts.checkpoint("demo")
        assert result["tasks"] == {two.id: {"stored": True, "generation": 1, "dirty_updates": 0}}
        ada.send(Update(typed("more", client_id=9)[0]))
        await until(lambda: rooms[0].updates == 2)
        assert set((await one.acts.checkpoint("demo"))["tasks"]) == {one.id}
        assert (await one.acts.checkpoint("nobody-has-it"))["tasks"] == {}
