"""What the figures of a run are of: the machine in a few words, and how fast it is right now. Called by `__main__`."""

from __future__ import annotations

import platform
import time
from pathlib import Path

_ROUNDS, _CALLS = 15, 5_000


def description() -> str:
    """Processor, kernel and Python; no host name."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    models = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return (
        f"{next(models, platform.machine())}, {platform.system()} {platform.release()}, "
        f"Python {platform.python_version()}"
    )


def calibration_us() -> float:
    """µs of a fixed piece of Python, the best of several rounds: twice as much means an hour half as fast."""
    best = float("inf")
    for _ in range(_ROUNDS):
        started = time.perf_counter()
        _fixed_work()
        best = min(best, time.perf_counter() - started)
    return best / _CALLS * 1e6


def _fixed_work() -> int:
    """What the hot path is made of: bytes looked at, numbers put together, a dictionary, short byte strings."""
    source, seen, total = bytes(range(128)) * 2, dict[int, bytes](), 0
    for number in range(_CALLS):
        at = number % 200
        value = source[at] | source[at + 1] << 7 | source[at + 2] << 14
        seen[value & 0xFF] = source[at : at + 20] + source[at : at + 4]
        total += len(seen[value & 0xFF])
    return total
