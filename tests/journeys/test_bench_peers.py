"""The side-by-side benchmark, shrunk, against our own server: what it counts is what happened."""

from bench.peers.__main__ import one_run
from bench.peers.plans import one_room, two_tasks
from bench.peers.servers import OURS


def test_every_edit_of_a_small_run_is_delivered_and_measured() -> None:
    row = one_run(OURS, "a", one_room(5, 0, 5, 0.5, 1.0), None)
    assert (row.delivered_share, row.unseen_share, row.lost) == (1.0, 0.0, 0)
    assert row.p50_ms is not None
    assert row.p99_ms is not None
    assert 0 < row.p50_ms <= row.p99_ms
    assert row.rss_mb > 10
    assert row.frames_per_delivery is not None
    assert row.frames_per_delivery > 0


def test_every_edit_that_crosses_from_task_to_task_is_delivered_and_measured() -> None:
    row = one_run(OURS, "i", two_tasks(3, 5, 0.5, 1.0, apart=True), None)
    assert (row.unseen_share, row.lost) == (0.0, 0)
    assert row.cpu_us_update is not None
    assert row.cpu_us_update > 0
    assert row.rss_mb > 100  # of two processes
