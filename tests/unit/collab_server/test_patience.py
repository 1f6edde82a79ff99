"""What a connection's visitor sees, turn by turn, and for how long it has been so."""

from __future__ import annotations

from collab_server.patience import LEAST_PROGRESS_BYTES, Patience
from collab_server.wheel import TURN_S


def turns(seconds: float) -> float:
    return seconds / TURN_S


def test_silence_lasts_until_the_peer_is_heard() -> None:
    patience = Patience()
    assert [turns(patience.silent_s(heard=heard)) for heard in (True, False, False, True, False)] == [0, 1, 2, 0, 1]


def test_quiet_lasts_until_something_is_sent() -> None:
    patience = Patience()
    assert [turns(patience.quiet_s(frames)) for frames in (0, 0, 1, 1, 5)] == [1, 2, 0, 1, 0]


def test_a_reader_that_takes_a_little_now_and_then_is_slow_but_not_stalled() -> None:
    patience = Patience()
    queued = [10 * LEAST_PROGRESS_BYTES - turn * LEAST_PROGRESS_BYTES for turn in range(9)]
    assert not any(patience.stalled_s(bytes_) for bytes_ in queued)


def test_a_reader_that_takes_next_to_nothing_is_stalled_until_nothing_waits() -> None:
    patience = Patience()
    queued = [1_000_000, 1_000_000, 999_999, 1_200_000, 0, 0, 5]
    assert [turns(patience.stalled_s(bytes_)) for bytes_ in queued] == [0, 1, 2, 3, 0, 0, 0]


def test_one_message_is_stuck_however_many_of_its_bytes_come() -> None:
    patience = Patience()
    seen = [(0, 0), (0, 10), (0, 500), (1, 3), (1, 3), (1, 0)]
    assert [turns(patience.stuck_s(*each)) for each in seen] == [0, 1, 2, 0, 1, 0]
