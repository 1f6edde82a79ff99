"""A task without neighbours keeps its edits to itself, and tells them all as soon as somebody is there."""

from __future__ import annotations

from collections.abc import AsyncIterator

import orjson
import pytest

from collab_server import company
from collab_server.bus import Envelope, EnvelopeKind
from collab_server.bus_memory import MemoryBus, MemoryNetwork
from collab_server.company import Company
from collab_server.control import Control
from collab_server.envelopes import FIRST_VERSION, SPEAKS, VERSION
from collab_server.neighbours import GONE_AFTER_S, LEAVING, Neighbours
from collab_server.telemetry import Metrics
from tests.unit.collab_server.rooms.parts import until


class Watched:
    """One task's company, and a bus on which others can be played."""

    def __init__(self) -> None:
        self.network = MemoryNetwork()
        self.bus, self.other = MemoryBus("one", self.network), MemoryBus("two", self.network)
        self.compared = 0
        self.now = 0.0

    async def start(self) -> None:
        await self.bus.start()
        await self.other.start()
        metrics = Metrics()
        control = Control(self.bus, metrics)
        self.neighbours = Neighbours(control, metrics, speaks=SPEAKS, clock=lambda: self.now)
        self.company = Company(self.bus, self.neighbours, self._compare)
        await control.start()

    def _compare(self) -> None:
        self.compared += 1

    def says(self, word: str, **body: object) -> None:
        """What the other task says, whatever version it is."""
        words = orjson.dumps({"word": word, "body": body})
        self.other.publish(Envelope(EnvelopeKind.CONTROL, None, "two", words))


@pytest.fixture
async def watched(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Watched]:
    monkeypatch.setattr(company, "ALONE_AFTER_S", getattr(request, "param", 0.05))
    made = Watched()
    await made.start()
    yield made
    made.company.close()


async def test_who_hears_nobody_for_long_is_alone_until_somebody_speaks(watched: Watched) -> None:
    assert not watched.bus.is_alone
    await until(lambda: watched.bus.is_alone)
    watched.says("alive", speaks=sorted(SPEAKS), draining=False)
    await until(lambda: not watched.bus.is_alone)
    assert watched.compared == 1
    watched.says(LEAVING)
    await until(lambda: watched.bus.is_alone)


async def test_beside_somebody_who_was_there_in_time_nothing_is_compared(watched: Watched) -> None:
    watched.says("alive", speaks=sorted(SPEAKS), draining=False)
    await until(lambda: bool(watched.neighbours.living))
    assert not watched.bus.is_alone
    assert watched.compared == 0
    assert VERSION in watched.bus.versions()


async def test_a_newcomer_of_the_version_before_is_spoken_to_in_its_version_and_compared_with(watched: Watched) -> None:
    watched.other.versions = lambda: {FIRST_VERSION}
    watched.says("alive", speaks=[FIRST_VERSION], draining=False)
    await until(lambda: bool(watched.neighbours.living))
    assert set(watched.bus.versions()) == {FIRST_VERSION}
    assert watched.compared == 1


@pytest.mark.parametrize("watched", [60.0], indirect=True)
async def test_with_one_who_was_silent_for_long_and_lives_states_are_compared(watched: Watched) -> None:
    """F14: words to and from it were lost, and in a quiet room nobody would notice before the next edit."""
    watched.says("alive", speaks=sorted(SPEAKS), draining=False)
    await until(lambda: bool(watched.neighbours.living))
    watched.now += GONE_AFTER_S + 1
    watched.neighbours.look(late_s=0.0)
    assert not watched.neighbours.living
    watched.says("alive", speaks=sorted(SPEAKS), draining=False)
    await until(lambda: bool(watched.neighbours.living))
    assert watched.compared == 1
