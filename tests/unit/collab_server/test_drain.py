"""In which order and at which pace members are moved off. The whole of a drain: tests/journeys/test_drain.py."""

from __future__ import annotations

import itertools
import random

import pytest

from collab_server.drain import MOVES_PER_S, PAUSE_S, batch_size, moving_order

SEATS = [(number, f"room-{number % 20}") for number in range(200)]
ROOMS = dict(SEATS)


def test_everyone_is_moved_once_and_members_of_one_room_right_behind_each_other() -> None:
    order = moving_order(SEATS, random.Random(1))
    assert sorted(order) == sorted(ROOMS)
    runs = [room for room, _members in itertools.groupby(order, key=ROOMS.__getitem__)]
    assert len(runs) == 20


def test_rooms_come_in_another_order_each_time() -> None:
    assert len({tuple(moving_order(SEATS, random.Random(seed))) for seed in range(10)}) == 10


@pytest.mark.parametrize("members", [0, 1, 60, 2_999])
def test_few_are_moved_at_the_pace_of_a_calm_server_however_much_time_there_is(members: int) -> None:
    assert batch_size(members, 30.0) == MOVES_PER_S * PAUSE_S


def test_many_are_moved_faster_so_that_the_time_is_enough() -> None:
    size = batch_size(20_000, 30.0)
    assert size > MOVES_PER_S * PAUSE_S
    assert 20_000 / size * PAUSE_S <= 30.0


def test_without_a_spread_all_are_moved_at_once() -> None:
    assert batch_size(500, 0.0) == 500
