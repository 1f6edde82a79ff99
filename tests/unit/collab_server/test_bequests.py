"""What a task had committed when it was killed reaches the rooms of others, though no client brings it (F03, F21)."""

from __future__ import annotations

import pytest

from collab_server import bequests
from collab_server.bequests import Bequests
from collab_server.bus_memory import MemoryNetwork
from collab_server.control import Control
from collab_server.envelopes import SPEAKS
from collab_server.neighbours import GONE_AFTER_S, Neighbours
from collab_server.wire.messages import Update
from tests.unit.collab_server.rooms.parts import House, house, until
from tests.unit.collab_server.rooms.test_replica import typed


class Ears:
    """A task's control channel and its neighbours, on a clock that the test moves."""

    def __init__(self, of: House) -> None:
        self.now = 0.0
        self.control = Control(of.bus, of.metrics)
        self.neighbours = Neighbours(self.control, of.metrics, speaks=SPEAKS, clock=lambda: self.now)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bequests, "WAIT_S", 0.05)
    monkeypatch.setattr(bequests, "BUS_AGAIN_S", 0.01)
    monkeypatch.setattr(bequests, "GONE_AFTER_S", 0.05)


@pytest.mark.parametrize("bus_away", [False, True], ids=["the bus works", "the bus is away as well"])
async def test_what_a_killed_task_had_committed_is_found_in_storage(*, bus_away: bool) -> None:
    network = MemoryNetwork()
    async with house(network=network) as dead, house(network=network, storage=dead) as lives:
        first, second = Ears(dead), Ears(lives)
        await first.control.start()
        await second.control.start()
        looks = Bequests(lives.registry.rooms, second.neighbours, lives.bus)
        there, here = await dead.room(), await lives.room()
        elsewhere = await lives.room("elsewhere")
        first.neighbours.say_alive()
        await until(lambda: dead.bus.task_id in second.neighbours.living and here.sentinel.has_met(dead.bus.task_id))
        network.cut(dead.bus.task_id)
        if bus_away:
            network.cut(lives.bus.task_id)
        dead.join(there).send(Update(typed("hello")[0]))
        await dead.recorder.flush()
        second.now += GONE_AFTER_S + 1
        second.neighbours.look()
        network.mend(lives.bus.task_id)
        await until(lambda: here.clocks == there.clocks)
        assert (here.second_look.is_over(1), elsewhere.second_look.is_over(1)) == (True, False)
        await looks.close()
