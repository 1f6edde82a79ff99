"""Ends this process when its event loop hangs, even inside C code that never gives the interpreter back.

A thread of the interpreter's own (faulthandler) waits without needing it; whoever does not feed it in time ends the
process with code 1 and the traceback of every thread on standard error: files, lines and functions, no values. There
is one a process, as there is one faulthandler. Must never run before the loop does, nor after it. Fed by `heartbeat`,
and by `replica` before work that may honestly take long.
"""

from __future__ import annotations

import faulthandler
import signal

STANDARD_ERROR = 2  # the file itself: tests and tools replace `sys.stderr`
LARGE_BYTES = 1024 * 1024
LARGE_S_PER_BYTE = 1.5 / LARGE_BYTES
"""Checking and applying an update of very many small parts costs 0.4 s a MiB; four times that on a busy machine."""


class Watchdog:
    """Off until `start`."""

    def __init__(self) -> None:
        self._limit_s = 0.0

    def start(self, limit_s: float) -> None:
        """Begin to watch: without a `feed` for `limit_s` the process ends. 0 watches nothing."""
        self._limit_s = limit_s
        self.feed()

    def feed(self) -> None:
        """Everything is well now. Costs 40 µs: a second or so is often enough."""
        if self._limit_s:
            faulthandler.dump_traceback_later(self._limit_s, exit=True, file=STANDARD_ERROR)

    def feed_before(self, size_bytes: int) -> None:
        """Work on so many bytes begins: when they are many, it has longer this once."""
        if self._limit_s and size_bytes > LARGE_BYTES:
            limit_s = self._limit_s + size_bytes * LARGE_S_PER_BYTE
            faulthandler.dump_traceback_later(limit_s, exit=True, file=STANDARD_ERROR)

    def sleep(self) -> None:
        """Stop the process as Ctrl-Z does, until somebody lets it go on; the time it stood still does not count."""
        if self._limit_s:
            faulthandler.cancel_dump_traceback_later()
        signal.raise_signal(signal.SIGSTOP)
        self.feed()

    def stop(self) -> None:
        """Watch no longer."""
        self._limit_s = 0.0
        faulthandler.cancel_dump_traceback_later()


WATCHDOG = Watchdog()
