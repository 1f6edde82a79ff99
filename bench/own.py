"""Our own server for the benchmarks that compare it with itself: started as in production, pinned, asked for figures.

Sign-in, firewall and a journal on PostgreSQL with fsync are on. Everything it starts is ended by its id. Called by
`fairness`, `rooms`, `soak` and `peers.servers`.
"""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from bench.peers.usage import cores, pin, processes_beside
from tests.services.running import admin_get
from tests.services.server import ServerProcess

NO_LIMIT = 1_000_000
UNLIMITED: dict[str, int] = {
    "messages_per_s": NO_LIMIT,
    "messages_burst": NO_LIMIT,
    "max_connections_per_user": NO_LIMIT,
    "bytes_per_s": 1024**3,
    "bytes_burst": 1024**3,
}
"""For a load that is one person's idea of many."""


@contextmanager
def own_server(**settings: Any) -> Iterator[ServerProcess]:
    """A server on storage of its own; keywords are settings in lower case."""
    with tempfile.TemporaryDirectory(prefix="collab-bench-") as name:
        folder = Path(name)
        folder.chmod(0o711)  # PostgreSQL is another user where we are root
        # Nothing here is kept, but PostgreSQL must be stopped.
        server = ServerProcess(folder, **{"auth": "dev", "drain_timeout_s": 20, **settings})
        server.start()
        try:
            yield server
        except Exception as error:
            error.add_note(f"the server's last words:\n{server.output[-3000:]}")  # gone with its folder otherwise
            raise
        finally:
            _end(server)


def _end(server: ServerProcess) -> None:
    """Stop it; one that is too busy to drain is killed, so that a run has an end."""
    try:
        with suppress(subprocess.TimeoutExpired):
            server.stop()
    finally:
        server.kill()


def make_ready() -> None:
    """What a generator needs before it starts: many sockets, a core of its own, and servers that end with Ctrl-C."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)


def pin_apart(server: ServerProcess) -> None:
    """The server gets the first core for itself; what works for it besides, and we, get the second one.

    To be called again when it may have started something since. On a machine with one core nothing is pinned.
    """
    pair = _CORES
    if pair is not None:
        pin(server.pid, pair[0])
        for beside in processes_beside(server.pid, server.folder.resolve()):
            pin(beside, pair[1])
        os.sched_setaffinity(0, {pair[1]})


_CORES = cores()  # before we pin ourselves to one


def figures(server: ServerProcess) -> dict[str, float]:
    """Every sample of its metrics by full name (`collab_closes_total`), labels added up."""
    _status, body = admin_get(server, "/metrics")
    found: dict[str, float] = {}
    for family in text_string_to_metric_families(body.decode()):
        for sample in family.samples:
            found[sample.name] = found.get(sample.name, 0.0) + sample.value
    return found
