"""When news goes out: at once in a quiet room, on a growing tick in a busy one, never later than the cap."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from collab_server.rooms.pace import Pace

CAP_S = 0.025


def settled(rate_per_s: float, receivers: int, seconds: float = 3.0) -> tuple[Pace, float]:
    """A pace after some seconds of evenly spaced news, each sent when it may be; and the longest wait of the last one.

    News that waits is gathered: it goes out together when the first of it is due.
    """
    pace, now, due, longest = Pace(CAP_S), 0.0, None, 0.0
    while now < seconds:
        if due is not None and due <= now:
            pace.sent(due)
            due = None
        wait_s = pace.delay_s(now, receivers)
        if due is None:
            if wait_s > 0:
                due = now + wait_s
            else:
                pace.sent(now)
        if now > seconds - 1:
            longest = max(longest, wait_s)
        now += 1 / rate_per_s
    return pace, longest


def test_the_first_news_after_a_quiet_moment_goes_at_once() -> None:
    pace, _longest = settled(1_000, 200)
    assert pace.delay_s(100.0, 200) == 0.0


def test_a_reader_crowd_behind_one_slow_writer_never_waits_for_nothing() -> None:
    assert settled(20, 500)[1] == 0.0


def test_the_tick_grows_with_the_fan_out() -> None:
    calm, busy = settled(150, 50)[0].tick_s, settled(250, 50)[0].tick_s
    assert 0 < calm < busy < CAP_S


@given(rate=st.floats(1, 5_000), receivers=st.integers(1, 2_000))
def test_nothing_ever_waits_longer_than_the_cap(rate: float, receivers: int) -> None:
    assert settled(rate, receivers, 0.5)[1] <= CAP_S * 1.000_001


def test_a_cap_of_zero_sends_everything_at_once() -> None:
    pace = Pace(0.0)
    assert not any(pace.delay_s(number / 1_000, 500) for number in range(1_000))
