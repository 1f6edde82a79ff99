"""Fixture over two of our tasks and a Redis of their own, to harm at will; listed in `pytest_plugins`."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.services.faulty_cluster import Cluster
from tests.services.fixtures_postgres import PostgresOfMajor
from tests.services.postgres import apart
from tests.services.redis import RedisServer


@pytest.fixture(scope="session")
def _shared_cluster(postgres_of_major: PostgresOfMajor, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    folder = tmp_path_factory.mktemp("cluster")
    redis = RedisServer(folder)
    redis.start()
    url = apart(postgres_of_major(None).fresh_database())
    cluster = Cluster(folder, url, redis, 2, auth="dev", checkpoint_after_updates=150, checkpoint_after_s=1)
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()
        redis.kill()


@pytest.fixture
def cluster(_shared_cluster: Cluster) -> Iterator[Cluster]:
    """Two tasks, shared by the tests of one test process: use documents of your own. All that was harmed is well again
    after each test.
    """
    yield _shared_cluster
    for way in _shared_cluster.ways:
        way.target_port = _shared_cluster.redis.port
        way.be_well()
