"""Ends what a cluster has started when the cluster itself was killed: nothing shall go on without it.

    python -m cluster.guard PATIENCE_S

Each line of its standard input is a process id to keep (`+4711`) or to forget (`-4711`). At the end of its input, which
is also how the death of whoever holds the other end shows, it ends those it keeps: asked to first, and after PATIENCE_S
not asked any more. Started by `programs`.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from contextlib import suppress

LOOK_EVERY_S = 0.05


def main() -> None:
    """Serve until the end of standard input."""
    kept: set[int] = set()
    for line in sys.stdin:
        (kept.add if line[0] == "+" else kept.discard)(int(line[1:]))
    deadline = time.monotonic() + float(sys.argv[1])
    _signal(kept, signal.SIGTERM)
    while kept and time.monotonic() < deadline:
        time.sleep(LOOK_EVERY_S)
        kept = {pid for pid in kept if _is_there(pid)}
    _signal(kept, signal.SIGKILL)


def _signal(pids: set[int], number: signal.Signals) -> None:
    for pid in pids:
        with suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)


def _is_there(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


if __name__ == "__main__":
    main()
