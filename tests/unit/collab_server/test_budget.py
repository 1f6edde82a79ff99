"""The budget of all connections together: when it is passed, and who is closed then."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from collab_server.budget import RELIEF_SHARE, BufferBudget


def counted(budget: BufferBudget, *steps: int) -> list[bool]:
    """What each step of the wheel says when so much is counted in it."""
    said = []
    for held_bytes in steps:
        budget.count(held_bytes)
        said.append(budget.end_step())
    return said


def test_the_sum_of_a_whole_turn_is_compared() -> None:
    assert counted(BufferBudget(100, steps=4), 30, 30, 30, 10, 30, 31) == [False] * 5 + [True]


def test_what_was_counted_a_turn_ago_counts_no_longer() -> None:
    assert counted(BufferBudget(100, steps=2), 101, 0, 0, 100) == [True, True, False, False]


def test_the_budget_itself_is_allowed() -> None:
    budget = BufferBudget(100, steps=1)
    assert counted(budget, 100) == [False]
    assert budget.to_close([(60, "a"), (40, "b")]) == []


def test_the_largest_are_closed_first_and_no_more_than_needed() -> None:
    assert BufferBudget(100, steps=1).to_close([(5, "small"), (30, "c"), (50, "a"), (40, "b")]) == ["a"]


@given(st.lists(st.integers(0, 50)), st.integers(1, 200))
def test_what_is_left_is_within_the_budget_and_each_closed_one_was_needed(sizes: list[int], most: int) -> None:
    closing = BufferBudget(most, steps=1).to_close([(size, (number, size)) for number, size in enumerate(sizes)])
    left = sum(sizes) - sum(size for _number, size in closing)
    assert left <= most
    if closing:
        assert left + closing[-1][1] > most * RELIEF_SHARE
        assert min(size for _number, size in closing) >= max(
            (size for number, size in enumerate(sizes) if (number, size) not in closing), default=0
        )
