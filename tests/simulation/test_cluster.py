"""F09, F14: two to four tasks on a bus that loses, doubles, reorders and parts; all are equal 5 s after it is well.

`make simulate KIND=cluster SEEDS=10000` runs more of them.
"""

from __future__ import annotations

import time

import pytest

from tests.simulation.cluster import ClusterWorld
from tests.simulation.world import REAL, Failed, Parts, simulate

BUDGET_S = 7.0  # of this process's CPU
LONGEST_S = 60.0  # on a machine with much else to do
FEWEST_WORLDS = 30
MOST_SEEDS = 500


def test_everyone_is_equal_five_seconds_after_the_bus_is_well() -> None:
    until, at_last = time.process_time() + BUDGET_S, time.monotonic() + LONGEST_S
    seed = rows = 0
    while (time.process_time() < until and time.monotonic() < at_last) or seed < FEWEST_WORLDS:
        rows += simulate(seed, REAL, ClusterWorld).rows
        seed += 1
    assert rows > 10 * seed, "worlds in which next to nothing is written prove nothing"


NEVER_S = 1e9


@pytest.mark.parametrize("parts", [Parts(compare_every_s=NEVER_S)], ids=["copies are never compared"])
def test_a_bug_that_is_put_back_is_found_and_its_world_is_well_without_it(parts: Parts) -> None:
    failure = first_failure(parts)
    assert "not equal" in str(failure)
    assert simulate(failure.seed, REAL, ClusterWorld).steps


def first_failure(parts: Parts) -> Failed:
    """The first world that these parts do not survive."""
    for seed in range(MOST_SEEDS):
        try:
            simulate(seed, parts, ClusterWorld)
        except Failed as failure:
            return failure
    pytest.fail(f"not found in {MOST_SEEDS} worlds")
