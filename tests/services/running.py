"""A server for the tests of one module, and what tests ask about it: its metrics, its rows, its memory and its time.

Sharing one server keeps such tests fast; each test uses documents of its own. Never for tests that stop or kill theirs:
those start one with `start_server`.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.services.fixtures_postgres import PostgresOfMajor
from tests.services.postgres import apart
from tests.services.server import ServerProcess


@contextmanager
def running_server(
    postgres_of_major: PostgresOfMajor, folders: pytest.TempPathFactory, **settings: Any
) -> Iterator[ServerProcess]:
    """A server on a database of its own; keywords are settings in lower case."""
    url = apart(postgres_of_major(None).fresh_database())
    server = ServerProcess(folders.mktemp("server"), database_url=url, **settings)
    try:
        server.start()
        yield server
    finally:
        server.stop()


def admin_get(
    server: ServerProcess, path: str, token: str | None = None, *, method: str = "GET", header: str | None = None
) -> tuple[int, bytes]:
    """Status and body of an answer of the admin port, or the named header in place of the body."""
    connection = HTTPConnection("127.0.0.1", server.admin_port, timeout=20)
    try:
        connection.request(method, path, headers={"Authorization": f"Bearer {token}"} if token else {})
        answer = connection.getresponse()
        return answer.status, answer.read() if header is None else (answer.getheader(header) or "").encode()
    finally:
        connection.close()


def admin_json(server: ServerProcess, path: str, token: str | None = None) -> tuple[int, Any]:
    """Status and content of a JSON answer of the admin port."""
    status, body = admin_get(server, path, token)
    return status, json.loads(body)


def admin_post(server: ServerProcess, path: str, token: str | None, content: dict[str, Any]) -> tuple[int, Any]:
    """Status and content of what the admin port answers to `content`."""
    connection = HTTPConnection("127.0.0.1", server.admin_port, timeout=60)
    try:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        connection.request("POST", path, json.dumps(content), headers)
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())
    finally:
        connection.close()


def metric(server: ServerProcess, name: str, /, **labels: str) -> float:
    """The sample of that full name (`collab_closes_total`) and those labels; 0.0 for one never counted."""
    _status, body = admin_get(server, "/metrics")
    text = body.decode()
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name == name and sample.labels == labels:
                return sample.value
    return 0.0


async def until_ready(server: ServerProcess, status: int) -> dict[str, Any]:
    """Wait until `/readyz` answers with `status`; its report."""
    async with asyncio.timeout(45):
        while True:
            found, report = await asyncio.to_thread(admin_json, server, "/readyz")
            if found == status:
                return dict(report)
            await asyncio.sleep(0.05)


async def until_metric(server: ServerProcess, name: str, value: float, /, **labels: str) -> None:
    """Wait until that sample is `value`: what ends a connection is counted before the peer sees it, but not long."""
    async with asyncio.timeout(20):
        while (found := await asyncio.to_thread(metric, server, name, **labels)) != value:
            assert found < value, f"{name}{labels} is {found}, not {value}"
            await asyncio.sleep(0.02)


async def until(fact: Callable[[], Awaitable[bool]]) -> None:
    """Wait until `fact`, which asks a server, holds."""
    async with asyncio.timeout(20):
        while not await fact():  # noqa: ASYNC110
            await asyncio.sleep(0.02)


async def until_gone(server: ServerProcess, name: str) -> None:
    """Wait until nothing of that gauge is left."""
    async with asyncio.timeout(20):
        while await asyncio.to_thread(metric, server, name):  # noqa: ASYNC110
            await asyncio.sleep(0.02)


async def rows(server: ServerProcess, sql: str, *arguments: object) -> list[asyncpg.Record]:
    """What a query on the server's database gives."""
    connection = await asyncpg.connect(server.environment()["COLLAB_DATABASE_URL"])
    try:
        return list(await connection.fetch(sql, *arguments))
    finally:
        await connection.close()


async def until_journaled(server: ServerProcess, document: str, number: int) -> None:
    """Wait until that many updates of `document` are in the journal; more of them are too many."""
    async with asyncio.timeout(20):
        while (found := await journaled(server, document)) < number:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    assert found == number


async def journaled(server: ServerProcess, document: str) -> int:
    """How many updates of `document` are in the journal, folded or not."""
    found = await rows(
        server,
        "select count(*) from document_updates u join documents d on d.id = u.document_id where d.name = $1",
        document,
    )
    return int(found[0]["count"])


def resident_bytes(pid: int) -> int:
    """Memory of a process that is in RAM."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise AssertionError("no VmRSS")


def loop_seconds(pid: int) -> float:
    """CPU time the main thread of a process has had: unlike wall time it tells a slow server from a busy machine."""
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e9
