"""Fixtures over our own server as a child process, on a database of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.services.fixtures_postgres import PostgresOfMajor
from tests.services.postgres import apart
from tests.services.server import ServerProcess

StartServer = Callable[..., ServerProcess]


@pytest.fixture(scope="session")
def open_server(
    postgres_of_major: PostgresOfMajor, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ServerProcess]:
    """A server where everyone is an editor, shared by the tests of one test process: use documents of your own."""
    url = apart(postgres_of_major(None).fresh_database())
    server = ServerProcess(tmp_path_factory.mktemp("open-server"), database_url=url, auth="open")
    server.start()
    yield server
    server.stop()


@pytest.fixture
def start_server(postgres_of_major: PostgresOfMajor, tmp_path: Path) -> Iterator[StartServer]:
    """Start servers of this test's own; keywords are settings in lower case (`auth="dev"`)."""
    with ExitStack() as running:

        def start(**settings: Any) -> ServerProcess:
            if "database_url" not in settings:
                settings["database_url"] = apart(postgres_of_major(None).fresh_database())
            folder = tmp_path / f"server-{len(list(tmp_path.iterdir()))}"
            folder.mkdir()
            server = ServerProcess(folder, **settings)
            server.start()
            running.callback(server.stop)
            return server

        yield start


@pytest.fixture(scope="session")
def dev_server(postgres_of_major: PostgresOfMajor, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """`collab-server dev` with its page, shared by the tests of one test process."""
    url = apart(postgres_of_major(None).fresh_database())
    server = ServerProcess(tmp_path_factory.mktemp("dev-server"), command=("dev",), database_url=url)
    server.start()
    yield server
    server.stop()
