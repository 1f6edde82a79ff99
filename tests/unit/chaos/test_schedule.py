"""The schedule: drawn from a seed, bounded, and the same each time."""

from __future__ import annotations

import pytest

from chaos.schedule import LASTS_S, LONGEST_GAP_S, MOST_STRIKES, SHORTEST_GAP_S, schedule

ALL = tuple(LASTS_S)


def test_the_same_seed_gives_the_same_schedule_in_whatever_order_faults_are_named() -> None:
    assert schedule(7, 30, ALL) == schedule(7, 30, tuple(reversed(ALL)))


def test_another_seed_gives_another_schedule() -> None:
    assert schedule(7, 30, ALL) != schedule(8, 30, ALL)


def test_a_longer_run_begins_as_the_shorter_one() -> None:
    assert schedule(7, 30, ALL)[:10] == schedule(7, 10, ALL)


def test_every_fault_strikes_and_each_is_bounded_in_time() -> None:
    strikes = [strike for turn in schedule(1, 200, ALL) for strike in turn.strikes]
    assert {strike.fault for strike in strikes} == set(ALL)
    for strike in strikes:
        shortest, longest = LASTS_S[strike.fault]
        assert shortest <= strike.lasts_s <= longest
        assert SHORTEST_GAP_S <= strike.after_s <= LONGEST_GAP_S


def test_every_round_has_a_few_strikes_and_ends_with_a_kill_at_a_random_moment() -> None:
    rounds = schedule(1, 100, ALL, kill_after_s=(0.1, 0.9))
    assert {len(turn.strikes) for turn in rounds} == set(range(1, MOST_STRIKES + 1))
    assert all(0.1 <= turn.kill_after_s <= 0.9 for turn in rounds)
    assert len({turn.kill_after_s for turn in rounds}) > 50
    assert [turn.number for turn in rounds] == list(range(1, 101))


def test_with_kills_only_a_round_is_its_last_kill() -> None:
    assert {turn.strikes for turn in schedule(1, 20, ("sigkill",))} == {()}


def test_a_fault_that_does_not_exist_is_said_so() -> None:
    with pytest.raises(ValueError, match="no such fault: earthquake; there are sigkill"):
        schedule(1, 1, ("sigkill", "earthquake"))
