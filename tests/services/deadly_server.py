"""The real server with a CRDT that certain words kill: for tests of what no known update does to the real one any more.

`python -m tests.services.deadly_server serve ...` is `collab-server serve ...`, but for updates that hold one of the
words below. They go the whole way (socket, firewall, crash note) and do their harm where a fault of the CRDT would: in
native code's place, while it is being called.
"""

from __future__ import annotations

import os
import re
import resource
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pycrdt import Doc, Text, _base

from commands.cli import app

SEGFAULT, HANG, KILLED, EXHAUST = b"die-by-segfault", b"die-by-hang", b"die-by-kill", b"die-by-memory"
SPARE_BYTES = 64 * 1024 * 1024


def _segfault() -> None:
    os.kill(os.getpid(), signal.SIGSEGV)


def _hang() -> None:
    re.match(r"(a+)+$", "a" * 64 + "b")  # in C, without ever giving the interpreter back


def _be_killed() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _exhaust_memory() -> None:
    """Let the real CRDT run out of memory: Rust ends the process then."""
    own = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (own + SPARE_BYTES, own + SPARE_BYTES))
    doc: Doc[Any] = Doc()
    words = doc.get("content", type=Text)
    while True:
        words += "x" * (4 * 1024 * 1024)


HARM: dict[bytes, Callable[[], None]] = {
    SEGFAULT: _segfault,
    HANG: _hang,
    KILLED: _be_killed,
    EXHAUST: _exhaust_memory,
}


class Deadly:
    """pycrdt's native document; `apply_update` looks for the words first."""

    def __init__(self, *arguments: Any) -> None:
        self._native = _native(*arguments)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._native, name)

    def apply_update(self, transaction: Any, update: bytes) -> None:
        for word, harm in HARM.items():
            if word in update:
                harm()
        self._native.apply_update(transaction, update)


_native = _base._Doc

if __name__ == "__main__":
    _base._Doc = Deadly  # type: ignore[assignment,misc]
    app()
