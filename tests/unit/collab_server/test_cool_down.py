"""Who must stay away after a flood, for how long, and how many are remembered."""

from __future__ import annotations

from collab_server.cool_down import CoolDown


def test_one_that_flooded_stays_away_for_its_time_and_nobody_else_does() -> None:
    cool_down = CoolDown(10.0)
    cool_down.begin("mallory", now=100.0)
    assert cool_down.left_s("mallory", now=104.0) == 6.0
    assert cool_down.left_s("ada", now=104.0) == 0.0
    assert cool_down.left_s("mallory", now=110.0) == 0.0


def test_flooding_again_begins_the_time_anew() -> None:
    cool_down = CoolDown(10.0)
    cool_down.begin("mallory", now=0.0)
    cool_down.begin("eve", now=2.0)
    cool_down.begin("mallory", now=8.0)
    assert cool_down.count(now=12.0) == 1  # eve's time is up although mallory came first
    assert cool_down.left_s("mallory", now=12.0) == 6.0


def test_those_whose_time_is_up_are_forgotten() -> None:
    cool_down = CoolDown(10.0)
    for number in range(100):
        cool_down.begin(str(number), now=float(number))
    assert cool_down.count(now=99.0) == 10
    assert cool_down.count(now=109.0) == 0


def test_no_more_than_so_many_are_remembered_and_the_earliest_is_let_off_first() -> None:
    cool_down = CoolDown(10.0, most=3)
    for number in range(5):
        cool_down.begin(str(number), now=float(number))
    assert cool_down.count(now=4.0) == 3
    assert [cool_down.left_s(str(number), now=4.0) > 0 for number in range(5)] == [False, False, True, True, True]


def test_zero_seconds_keep_nobody_away() -> None:
    cool_down = CoolDown(0.0)
    cool_down.begin("mallory", now=1.0)
    assert cool_down.left_s("mallory", now=1.0) == 0.0
    assert cool_down.count(now=1.0) == 0
