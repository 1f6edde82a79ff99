"""Fixtures over a real Redis: `redis_url` for nearly every test, `redis_server` to stop, kill and pause one."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.services.redis import RedisServer


@pytest.fixture(scope="session")
def _shared_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def shared_redis_url(_shared_redis: RedisServer) -> str:
    """The same server as it is, for what a module's tests share: others empty it, which ends no subscription."""
    return _shared_redis.url


@pytest.fixture
def redis_url(_shared_redis: RedisServer) -> str:
    """A server for the whole test process, emptied for this test."""
    _shared_redis.command("FLUSHALL")
    return _shared_redis.url


@pytest.fixture
def redis_server(tmp_path: Path) -> Iterator[RedisServer]:
    """A running server of this test's own, to harm at will."""
    server = RedisServer(tmp_path)
    server.start()
    yield server
    server.kill()
