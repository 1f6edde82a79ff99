"""The wheel visits everything it carries once a turn, whatever comes and goes meanwhile."""

from __future__ import annotations

import asyncio

import pytest

from collab_server import wheel as module
from collab_server.wheel import SLOTS, Wheel

TURN_S = 0.16  # the real one takes 4 s


class Visitor:
    """Notes when it was visited; can leave or bring another along."""

    def __init__(self, wheel: Wheel) -> None:
        self.visits: list[float] = []
        self._wheel = wheel
        self.slot = wheel.add(self)

    def visit(self, now: float) -> None:
        self.visits.append(now)


class Leaver(Visitor):
    def visit(self, now: float) -> None:
        super().visit(now)
        self._wheel.remove(self, self.slot)


class Bringer(Visitor):
    def visit(self, now: float) -> None:
        super().visit(now)
        Visitor(self._wheel)


@pytest.fixture
def wheel(monkeypatch: pytest.MonkeyPatch) -> Wheel:
    monkeypatch.setattr(module, "TURN_S", TURN_S)
    return Wheel()


async def turning(wheel: Wheel, until: object) -> None:
    """Turn until `until()` holds."""
    hand = asyncio.create_task(wheel.turn())
    async with asyncio.timeout(20):
        while not until():  # type: ignore[operator]
            assert not hand.done(), hand
            await asyncio.sleep(0.005)
    hand.cancel()
    await asyncio.wait([hand])


async def test_everyone_is_visited_once_a_turn(wheel: Wheel) -> None:
    visitors = [Visitor(wheel) for _ in range(3 * SLOTS)]
    await turning(wheel, lambda: all(len(v.visits) >= 3 for v in visitors))
    counts = {len(visitor.visits) for visitor in visitors}
    assert max(counts) - min(counts) <= 1


async def test_visits_are_spread_evenly_over_the_turn(wheel: Wheel) -> None:
    visitors = [Visitor(wheel) for _ in range(5 * SLOTS)]
    assert all([v.slot for v in visitors].count(slot) == 5 for slot in range(SLOTS))
    await turning(wheel, lambda: all(v.visits for v in visitors))
    assert len({visitor.visits[0] for visitor in visitors}) == SLOTS


async def test_a_visit_is_told_the_time_of_the_loop(wheel: Wheel) -> None:
    before = asyncio.get_running_loop().time()
    visitor = Visitor(wheel)
    await turning(wheel, lambda: len(visitor.visits) == 2)
    first, second = visitor.visits
    assert before < first < second <= asyncio.get_running_loop().time()
    assert second - first >= TURN_S * 0.9


async def test_who_was_removed_is_not_visited(wheel: Wheel) -> None:
    gone, here = Visitor(wheel), Visitor(wheel)
    wheel.remove(gone, gone.slot)
    wheel.remove(gone, gone.slot)  # twice is no fault
    await turning(wheel, lambda: len(here.visits) == 2)
    assert gone.visits == []


async def test_a_visit_may_remove_and_add(wheel: Wheel) -> None:
    leaver, bringer, steady = Leaver(wheel), Bringer(wheel), Visitor(wheel)
    await turning(wheel, lambda: len(steady.visits) == 3)
    assert len(leaver.visits) == 1
    assert len(bringer.visits) >= 2


async def test_a_fault_in_one_visit_keeps_nobody_else_from_theirs(wheel: Wheel) -> None:
    class Faulty(Visitor):
        def visit(self, now: float) -> None:
            super().visit(now)
            raise ValueError("a fault of ours")

    visitors = [Faulty(wheel), Visitor(wheel), Faulty(wheel)]
    await turning(wheel, lambda: all(len(visitor.visits) >= 2 for visitor in visitors))
