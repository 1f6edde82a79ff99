"""What the benchmarks of our own server make of what they have counted."""

import os
import time

import pytest

from bench.peers.usage import exact_cpu_s
from bench.rooms import Turn
from bench.soak import Sample, Soaked


def sample(at_s: float, rss_mb: float, connections: int = 0) -> Sample:
    return Sample(at_s, rss_mb, threads=8, files=20, connections=connections, members=0, rooms=0, tasks=9)


def test_the_slope_is_of_the_time_after_the_warm_up() -> None:
    found = Soaked(sample(0, 100), [sample(at, 200 if at < 60 else 150 + at / 60) for at in range(0, 300, 5)])
    assert found.slope_mb_min(60) == pytest.approx(1.0)


def test_one_sample_has_no_slope() -> None:
    assert Soaked(sample(0, 100), [sample(5, 100)]).slope_mb_min(0) == 0.0


def test_a_server_with_a_connection_is_not_empty() -> None:
    assert sample(0, 1).is_empty
    assert not sample(0, 1, connections=1).is_empty


def test_what_a_server_does_without_load_is_taken_off_each_update() -> None:
    assert Turn(update_us=100, idle_us_s=10_000, updates=1_000).net_us == 90


def test_cpu_time_is_that_of_the_whole_life() -> None:
    before = exact_cpu_s(os.getpid())
    until = time.process_time() + 0.01
    while time.process_time() < until:
        pass
    assert 0.01 <= exact_cpu_s(os.getpid()) - before < 1.0
