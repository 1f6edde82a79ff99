"""Promise 1: no edit whose journal commit returned is lost, by kill -9 of the server or of the database at any instant.

Clients never reconnect here: a client that survives would offer its edits again and hide a loss.
"""

from __future__ import annotations

import asyncio
import os
import random
import re
import signal
import time
from contextlib import suppress

import asyncpg
import pytest
from websockets.exceptions import ConnectionClosed

from persistence.embedded_postgres import EmbeddedPostgres
from tests.services.client import Client
from tests.services.fixtures_server import StartServer
from tests.services.server import ServerProcess

ROUNDS = 20
WRITERS = 4
STROKES_PER_S = 50  # of each writer: 200 updates/s in all
TOKEN = re.compile(rb"<\d+-\d+-\d+>")
DOCUMENT = "killed"


async def write(server: ServerProcess, round_number: int, writer: int) -> None:
    """Type unique tokens until the connection is lost."""
    with suppress(ConnectionClosed, OSError):
        async with Client(server.websocket_url, DOCUMENT) as client:
            for number in range(10_000):
                await client.type(f"<{round_number}-{writer}-{number}>")
                await asyncio.sleep(1 / STROKES_PER_S)


async def watch_commits(url: str, committed: set[bytes]) -> None:
    """Collect the tokens of every committed row, as another session of the database sees them."""
    connection = await asyncpg.connect(url)
    seen = 0
    try:
        while True:
            for row in await connection.fetch(
                "select id, update from document_updates where id > $1 order by id", seen
            ):
                committed.update(TOKEN.findall(row["update"]))
                seen = row["id"]
            await asyncio.sleep(0.01)
    except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
        return  # the database was killed
    finally:
        with suppress(asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
            await connection.close()


async def read(server: ServerProcess) -> str:
    async with Client(server.websocket_url, DOCUMENT) as client:
        return str(client.text)


@pytest.mark.timeout(600)
async def test_no_committed_edit_is_lost_by_twenty_kills_under_200_updates_a_second(
    start_server: StartServer, postgres_server: EmbeddedPostgres
) -> None:
    server = start_server(
        auth="open", database_url=postgres_server.url, checkpoint_after_updates=60, checkpoint_after_s=0.5
    )
    committed: set[bytes] = set()
    chance = random.Random(4242)
    for round_number in range(ROUNDS):
        watching = asyncio.create_task(watch_commits(postgres_server.url, committed))
        writing = [asyncio.create_task(write(server, round_number, writer)) for writer in range(WRITERS)]
        before = len(committed)
        started = time.monotonic()
        while len(committed) < before + 100 or time.monotonic() < started + chance.uniform(0.3, 0.8):
            assert time.monotonic() < started + 60, server.output[-2000:]
            await asyncio.sleep(0.01)
        server.kill()
        if round_number % 4 == 3:
            assert postgres_server.pid is not None
            os.kill(postgres_server.pid, signal.SIGKILL)
        watching.cancel()
        await asyncio.gather(watching, *writing, return_exceptions=True)
        if round_number % 4 == 3:
            await postgres_server.stop()
            await postgres_server.start(postgres_server.folder, port=postgres_server.port)
        await asyncio.to_thread(server.start)
        found = set(TOKEN.findall((await read(server)).encode()))
        assert committed <= found, f"round {round_number}: {len(committed - found)} committed edits are lost"
    assert len(committed) >= ROUNDS * 100
