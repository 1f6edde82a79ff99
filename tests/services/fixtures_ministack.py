"""Fixtures over a real S3 API; listed in `pytest_plugins`."""

from collections.abc import Iterator

import pytest

from tests.services.ministack import Ministack


@pytest.fixture(scope="session")
def ministack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ministack]:
    """One server a test process: `endpoint_url`, `access_key`, `secret_key`, `region`, and `session` for boto3."""
    server = Ministack(tmp_path_factory.mktemp("ministack"))
    server.start()
    yield server
    server.stop()


@pytest.fixture
def s3_bucket(ministack: Ministack) -> str:
    """The name of a fresh, empty bucket."""
    return ministack.fresh_bucket()
