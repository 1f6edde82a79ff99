"""After an outage every room greets the other tasks, and nobody waits for all of them."""

from __future__ import annotations

import asyncio
from uuid import uuid4

from collab_server.rooms.greetings import PAUSE_S, TURN_S, Greetings
from persistence.catalog import Document
from tests.unit.collab_server.rooms.parts import until


class SlowRoom:
    """Stands for a room whose greeting takes a millisecond."""

    def __init__(self) -> None:
        self.greeted = 0
        self.document = Document(uuid4(), "demo", 0)

    def greet_peers(self) -> None:
        self.greeted += 1
        end = asyncio.get_running_loop().time() + TURN_S / 2
        while asyncio.get_running_loop().time() < end:
            pass


async def test_many_rooms_are_greeted_some_a_turn() -> None:
    rooms = {f"room-{number}": SlowRoom() for number in range(100)}
    greetings = Greetings(rooms)  # type: ignore[arg-type]
    greetings.begin()
    assert sum(room.greeted for room in rooms.values()) <= 4
    turns = 0
    while any(not room.greeted for room in rooms.values()):
        await asyncio.sleep(PAUSE_S / 4)
        turns += 1
    assert turns > 10
    assert {room.greeted for room in rooms.values()} == {1}


async def test_a_room_that_is_gone_meanwhile_is_left_out_and_a_second_call_greets_all_again() -> None:
    rooms = {f"room-{number}": SlowRoom() for number in range(20)}
    gone = rooms["room-19"]
    greetings = Greetings(rooms)  # type: ignore[arg-type]
    greetings.begin()
    del rooms["room-19"]
    greetings.begin()
    await until(lambda: all(room.greeted for room in rooms.values()))
    assert gone.greeted == 0
    assert rooms["room-0"].greeted == 2
    greetings.close()


class FaultyRoom(SlowRoom):
    """Stands for a room in which a fault of ours shows."""

    def greet_peers(self) -> None:
        super().greet_peers()
        raise ArithmeticError


async def test_a_room_with_a_fault_keeps_no_other_from_greeting() -> None:
    rooms = {f"room-{number}": (FaultyRoom if number % 7 == 0 else SlowRoom)() for number in range(20)}
    Greetings(rooms).begin()  # type: ignore[arg-type]
    await until(lambda: all(room.greeted == 1 for room in rooms.values()))
