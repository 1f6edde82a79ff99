"""What a process uses, and on which core it may: read from and written to Linux (proc(5), sched_setaffinity(2)).

Called by `servers`, `load` and the benchmarks of our own server.
"""

from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_CPU_CLOCK = 2  # of all threads, those that have ended too: CPUCLOCK_SCHED of the kernel
_GONE = (FileNotFoundError, ProcessLookupError, PermissionError)


def _stat(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()


def cpu_s(pid: int) -> float:
    """User and system time of a process with all its threads; 0 when it is gone."""
    with suppress(*_GONE):
        fields = _stat(pid)
        return (int(fields[11]) + int(fields[12])) / _TICKS_PER_S
    return 0.0


def exact_cpu_s(pid: int) -> float:
    """The same to the nanosecond, where `cpu_s` counts in hundredths of a second (clock_getcpuclockid(3))."""
    return time.clock_gettime(~pid << 3 | _CPU_CLOCK)


def core_busy_s(core: int) -> float:
    """How long a core has been at work for anybody, other guests of a virtual machine's host included."""
    for line in Path("/proc/stat").read_text().splitlines():
        name, *counts = line.split()
        if name == f"cpu{core}":
            user, nice, system, _idle, _iowait, irq, softirq, steal = map(int, counts[:8])
            return (user + nice + system + irq + softirq + steal) / _TICKS_PER_S
    return 0.0


def rss_bytes(pid: int) -> int:
    """Memory of a process that is in RAM."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE_BYTES


def processes_beside(pid: int, folder: Path | None) -> set[int]:
    """The descendants of a process, and whatever works in `folder` (PostgreSQL is nobody's child), without itself."""
    parents: dict[int, int] = {}
    found: set[int] = set()
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            with suppress(*_GONE):
                parents[int(entry.name)] = int(_stat(int(entry.name))[1])
                if folder is not None and (entry / "cwd").readlink().is_relative_to(folder):
                    found.add(int(entry.name))
    found |= {child for child in parents if _descends(child, pid, parents)}
    return found - {pid, os.getpid()}


def _descends(child: int, ancestor: int, parents: dict[int, int]) -> bool:
    while child := parents.get(child, 0):
        if child == ancestor:
            return True
    return False


def pin(pid: int, core: int) -> None:
    """Keep every thread of a process on one core; threads it starts later stay there too."""
    with suppress(*_GONE):
        for thread in Path(f"/proc/{pid}/task").iterdir():
            with suppress(*_GONE):
                os.sched_setaffinity(int(thread.name), {core})


def cores() -> tuple[int, int] | None:
    """A core for the server and one for the load; `None` where there is only one."""
    usable = sorted(os.sched_getaffinity(0))
    return (usable[0], usable[1]) if len(usable) > 1 else None
