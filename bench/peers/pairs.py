"""Servers of two tasks that share their rooms over Redis: ours, and Hocuspocus with its own Redis extension.

Ours runs as in production: sign-in, signed bus messages, a journal on PostgreSQL with fsync. The peer runs as its
documentation says. Redis is the same program for both and keeps nothing on disk. Called by `__main__`.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

from bench.own import UNLIMITED, own_server
from bench.peers.dialects import HocuspocusDialect
from bench.peers.servers import OURS, Running, ours, peer
from persistence.embedded_postgres import EmbeddedPostgres
from tests.services.postgres import apart
from tests.services.redis import RedisServer
from tests.services.server import free_port

BUS_KEY = "of this benchmark"


@contextmanager
def _ours() -> Iterator[Running]:
    with _storage() as (folder, redis, stack):
        postgres = EmbeddedPostgres()
        stack.callback(lambda: apart(postgres.stop()))
        url = apart(postgres.start(folder / "postgres"))
        shared = {"database_url": url, "redis_url": redis.url, "bus_key": BUS_KEY, **UNLIMITED}
        first = stack.enter_context(own_server(**shared))
        second = stack.enter_context(own_server(data_dir=first.folder / "data", **shared))
        one = ours(first)
        yield replace(one, folder=folder, second=replace(one, pid=second.pid, port=second.ws_port))


@contextmanager
def _hocuspocus() -> Iterator[Running]:
    with _storage() as (folder, redis, stack):
        tasks = []
        for _ in range(2):
            port = free_port()
            command = ["node", "hocuspocus.mjs", str(port), str(redis.port)]
            pid, _port = stack.enter_context(peer("hocuspocus", command, port))
            tasks.append(Running("hocuspocus", pid, port, lambda _room: "/", HocuspocusDialect, folder))
        yield replace(tasks[0], second=tasks[1])


@contextmanager
def _storage() -> Iterator[tuple[Path, RedisServer, ExitStack]]:
    """A folder that goes with everything in it, and a Redis that works there."""
    with tempfile.TemporaryDirectory(prefix="collab-bench-") as name, ExitStack() as stack:
        folder = Path(name).resolve()
        folder.chmod(0o711)  # PostgreSQL is another user where we are root
        redis = RedisServer(folder)
        redis.start()
        stack.callback(redis.kill)
        yield folder, redis, stack


PAIRS = {OURS: _ours, "hocuspocus": _hocuspocus}
