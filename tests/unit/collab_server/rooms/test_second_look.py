"""A room that the bus left behind refuses nobody who comes over from the task that is ahead (F14, promise 2)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from pycrdt import Doc, Text

from collab_server.bus_memory import MemoryNetwork
from collab_server.rooms.acknowledgements import Acknowledge
from collab_server.rooms.room import Room
from collab_server.wire.messages import SyncStep2, Update
from tests.unit.collab_server.rooms.parts import House, house, until
from tests.unit.collab_server.rooms.test_leases import Copy, seat, shows, text_of


@asynccontextmanager
async def two_tasks_apart() -> AsyncIterator[tuple[House, Room, House, Room]]:
    """Both hold the document and hear nothing of each other."""
    network = MemoryNetwork()
    async with house(network=network) as one, house(network=network, storage=one) as two:
        there, here = await one.room(), await two.room()
        network.cut(one.bus.task_id)
        yield one, there, two, here


async def test_a_gap_that_storage_closes_costs_nobody_the_connection() -> None:
    """What was relayed to a client before its sync answer waits in its document, and comes with all it sends (yjs)."""
    async with two_tasks_apart() as (one, there, two, here):
        ada, copy = seat(one, there, "ada"), Copy(7)
        ada.send(Update(copy.type("a")))
        second = copy.type("b")
        ada.send(Update(second))
        await one.recorder.flush()
        bob = seat(two, here, "bob")
        bob.member.ask_for_sync()
        bob.send(SyncStep2(second))
        await until(lambda: text_of(here) == "ab")
        bob.send(SyncStep2(second))
        assert not bob.refusals


def other_words(client_id: int) -> bytes:
    """An edit that the text does not show."""
    doc: Doc[Any] = Doc(client_id=client_id)
    doc.get("title", type=Text).insert(0, "t")
    return doc.get_update()


async def test_nobody_is_refused_for_a_gap_while_storage_cannot_be_looked_into() -> None:
    async with two_tasks_apart() as (one, there, two, here):
        ada, copy = seat(one, there, "ada"), Copy(7)
        ada.send(Update(copy.type("a")))
        second = copy.type("b")
        await one.recorder.flush()
        bob = seat(two, here, "bob")
        one.journal.available = False
        bob.send(Update(other_words(8)))  # what storage is to hold before it is looked into
        for _ in range(3):
            bob.member.ask_for_sync()
            bob.send(SyncStep2(second))
        assert not here.second_look.is_over(bob.member.writer.look)
        one.journal.available = True

        def level() -> bool:
            if bob.member.awaiting_sync:
                bob.send(SyncStep2(second))
            return text_of(here) == "ab"

        await until(level)


@pytest.mark.parametrize("commits", [True, False], ids=["committed", "lost with the task"])
async def test_two_who_saw_each_others_edits_come_over_and_neither_is_refused(commits: bool) -> None:
    """Each brings the other's edits, and each is there: neither can be asked first."""
    async with two_tasks_apart() as (one, there, two, here):
        ada, bob = Copy(7), Copy(8)
        if commits:
            there_ada, there_bob = seat(one, there, "ada"), seat(one, there, "bob")
            there_ada.send(Update(bob.take(ada.type("a"))))
            there_bob.send(Update(ada.take(bob.type("b"))))
            await one.recorder.flush()
        else:
            bob.take(ada.type("a"))
            ada.take(bob.type("b"))
        here_ada = two.join(here, subject="ada", acknowledge=Acknowledge.COUNT)
        here_bob = two.join(here, subject="bob", acknowledge=Acknowledge.COUNT)
        here_ada.send(shows(7))
        here_bob.send(shows(8))
        pairs = ((here_ada, ada), (here_bob, bob))

        def level() -> bool:
            for person, copy in pairs:
                if person.member.awaiting_sync:
                    person.send(copy.sync(here))
            return len(text_of(here)) == 2

        await until(level)
        assert not here_ada.refusals
        assert not here_bob.refusals
        assert here.clocks == {7: 1, 8: 1}
