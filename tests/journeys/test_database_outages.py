"""What one notices when PostgreSQL is gone, hangs, is slow, takes no writes or cuts a commit off (F05, F06, F11, F23).

Edits go on, nothing is called stored that is not, memory stays bounded, and when it is back everything that was taken
is stored. Nobody reconnects before a check: a client that did would offer its edits again and hide a loss.
"""

from __future__ import annotations

import asyncio
import random
import re
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus

from collab_server.errors import Close
from collab_server.wire.messages import Update
from persistence.embedded_postgres import EmbeddedPostgres
from tests.services.client import Client
from tests.services.fixtures_server import StartServer
from tests.services.outages import no_file_grows, pause, paused, resume, set_read_only, start_again
from tests.services.running import admin_json, journaled, metric, until_gone, until_journaled, until_metric, until_ready
from tests.services.server import ServerProcess
from tests.services.tcp_relay import Relay

BACKLOG = "collab_journal_backlog_bytes"
MAX_BACKLOG_BYTES = 100_000
TOKEN = re.compile(r"<\d+>")


@asynccontextmanager
async def gone(server: EmbeddedPostgres) -> AsyncIterator[None]:
    """As `pg_ctl stop -m immediate` does it: no good-bye, and nothing listens any more."""
    await server.kill(signal.SIGQUIT)
    try:
        yield
    finally:
        await start_again(server)


@asynccontextmanager
async def read_only(server: EmbeddedPostgres) -> AsyncIterator[None]:
    """It answers, but takes no writes: an operator's doing, or a failover."""
    await set_read_only(server, read_only=True)
    try:
        yield
    finally:
        await set_read_only(server, read_only=False)


Outage = Callable[[EmbeddedPostgres], Any]
OUTAGES = pytest.mark.parametrize("outage", [gone, paused, read_only], ids=["gone", "hung", "read-only"])


async def until_more(server: ServerProcess, name: str, value: float) -> None:
    """Wait until a gauge is above `value`."""
    async with asyncio.timeout(20):
        while await asyncio.to_thread(metric, server, name) <= value:  # noqa: ASYNC110
            await asyncio.sleep(0.02)


async def stored_text(server: ServerProcess, document: str) -> str:
    """What a server finds that has nothing but storage to go by."""
    server.kill()
    await asyncio.to_thread(server.start)
    async with Client(server.websocket_url, document) as client:
        return str(client.text)


def through(relay: Relay, postgres: EmbeddedPostgres) -> str:
    """The URL of `postgres` by way of `relay`."""
    parts = urlsplit(postgres.url)
    return urlunsplit(parts._replace(netloc=parts.netloc.replace(f":{postgres.port}", f":{relay.port}")))


@OUTAGES
async def test_edits_go_on_without_the_database_and_are_stored_when_it_is_back(
    start_server: StartServer, postgres_server: EmbeddedPostgres, outage: Outage
) -> None:
    """F05."""
    server = start_server(auth="open", database_url=postgres_server.url)
    async with (
        Client(server.websocket_url, "away?ack=1") as ada,
        Client(server.websocket_url, "away") as bob,
    ):
        first = await ada.type("<0>")
        await ada.until(lambda: Update(first) in ada.received)
        async with outage(postgres_server):
            sent = [await ada.type(f"<{number}>") for number in range(1, 11)]
            for number in range(11, 21):
                await bob.type(f"<{number}>")
            await ada.until(lambda: len(TOKEN.findall(str(ada.text))) == 21)
            await bob.until(lambda: len(TOKEN.findall(str(bob.text))) == 21)
            report = await until_ready(server, 503)
            assert not any(Update(update) in ada.received for update in sent)  # none of them is called stored
            assert report["journal"]["backlog_bytes"] > 0
            assert report["journal"]["oldest_pending_s"] > 0
            assert (await asyncio.to_thread(admin_json, server, "/healthz"))[0] == 200
            with pytest.raises(InvalidStatus) as refusal:
                async with Client(server.websocket_url, "another"):
                    pass
            assert refusal.value.response.status_code == 503
        await ada.until(lambda: all(Update(update) in ada.received for update in sent))
        await until_gone(server, BACKLOG)
        assert (ada.closed, bob.closed) == (None, None)
        shown = str(bob.text)
        await until_ready(server, 200)
    assert await stored_text(server, "away") == shown


async def test_a_journal_that_is_away_for_long_costs_writers_their_connection_but_neither_memory_nor_what_was_taken(
    start_server: StartServer, postgres_server: EmbeddedPostgres
) -> None:
    """F05: at the bound of the backlog edits are refused with a code that means try again."""
    server = start_server(
        auth="open", database_url=postgres_server.url, journal_max_backlog_bytes=MAX_BACKLOG_BYTES, messages_burst=5_000
    )
    async with Client(server.websocket_url, "full") as bob, Client(server.websocket_url, "full") as ada:
        async with gone(postgres_server):
            with suppress(ConnectionClosed):
                for number in range(2_000):
                    await ada.type(f"<{number}>" + "x" * 500)
                    await asyncio.sleep(0)
            code, _reason = await ada.until_closed()
            assert code == Close.JOURNAL_FULL.code
            assert Close.JOURNAL_FULL.retry
            assert MAX_BACKLOG_BYTES / 2 < metric(server, BACKLOG) <= MAX_BACKLOG_BYTES
            assert bob.closed is None  # who only reads is not harmed, and has seen nothing that was refused
            taken = metric(server, "collab_updates_total", source="client")
            await bob.until(lambda: len(TOKEN.findall(str(bob.text))) == taken)
        await until_gone(server, BACKLOG)
        await bob.type("and on")
        await until_journaled(server, "full", int(taken) + 1)
        shown = str(bob.text)
    assert await stored_text(server, "full") == shown


async def test_a_slow_database_delays_nobodys_typing(
    start_server: StartServer, postgres_server: EmbeddedPostgres
) -> None:
    """F05."""
    async with Relay(postgres_server.port) as relay:
        server = await asyncio.to_thread(start_server, auth="open", database_url=through(relay, postgres_server))
        async with Client(server.websocket_url, "slow") as ada, Client(server.websocket_url, "slow") as bob:
            relay.latency_s = 1.0
            loop = asyncio.get_running_loop()
            began = loop.time()
            for number in range(20):
                await ada.type(f"<{number}>")
                await bob.until(lambda: len(bob.text) == len(ada.text))
            assert loop.time() - began < 1.0  # sooner than one of them can be committed
            assert metric(server, BACKLOG) > 0
            await until_journaled_at(postgres_server, 20)
            await until_gone(server, BACKLOG)
            relay.latency_s = 0.0
            assert (ada.closed, bob.closed) == (None, None)
        await asyncio.to_thread(server.stop)


async def until_journaled_at(postgres: EmbeddedPostgres, number: int) -> None:
    """Wait until so many rows are in the journal, as one sees it who asks the database itself."""
    connection = await asyncpg.connect(postgres.url)
    try:
        async with asyncio.timeout(20):
            while (found := await connection.fetchval("select count(*) from document_updates")) < number:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
    finally:
        await connection.close()
    assert found == number


@pytest.mark.parametrize("lost", ["answer", "question"])
async def test_a_connection_that_is_cut_in_the_middle_of_a_commit_loses_nothing(
    start_server: StartServer, postgres_server: EmbeddedPostgres, lost: str
) -> None:
    """F06: nobody knows whether it was committed, so it is sent again; a second row of one update does no harm."""
    async with Relay(postgres_server.port) as relay:
        server = await asyncio.to_thread(start_server, auth="open", database_url=through(relay, postgres_server))
        async with Client(server.websocket_url, "unknown") as ada:
            for number in (0, 1):  # the first leases its client id: what the second is stored with is prepared then
                await ada.type(f"<{number}>")
                await until_journaled_at(postgres_server, number + 1)
            await until_gone(server, BACKLOG)
            (relay.lose_answers if lost == "answer" else relay.lose_questions)()
            await ada.type("<2>")
            await until_more(server, BACKLOG, 0)
            if lost == "answer":
                await until_journaled_at(postgres_server, 3)
            relay.cut()
            await until_gone(server, BACKLOG)
            await until_journaled_at(postgres_server, 4 if lost == "answer" else 3)
            shown = str(ada.text)
        assert shown == "<0><1><2>"
        assert await stored_text(server, "unknown") == shown
        assert await asyncio.to_thread(server.stop) == 0  # a checkpoint folds the double


async def test_a_full_disk_of_the_database_stops_nothing_but_the_commits(
    start_server: StartServer, postgres_server: EmbeddedPostgres
) -> None:
    """F11."""
    server = start_server(auth="open", database_url=postgres_server.url)
    async with Client(server.websocket_url, "disk") as ada, Client(server.websocket_url, "disk") as bob:
        await ada.type("<0>")
        await until_journaled(server, "disk", 1)
        size_bytes = await fill_journal(postgres_server)
        with no_file_grows(postgres_server, size_bytes):
            for number in range(1, 21):
                await ada.type(f"<{number}>" + random_text(1_500))  # no page has place for these
            await bob.until(lambda: len(TOKEN.findall(str(bob.text))) == 21)
            report = await until_ready(server, 503)
            assert report["journal"]["backlog_bytes"] > 0
            assert all(found["ok"] for found in report["dependencies"].values())  # it answers: only the journal tells
            assert await journaled(server, "disk") < 21
            assert "could not extend file" in server.output
        await until_gone(server, BACKLOG)
        assert await journaled(server, "disk") == 21
        await until_ready(server, 200)
        assert (ada.closed, bob.closed) == (None, None)
        shown = str(bob.text)
    assert await stored_text(server, "disk") == shown


async def fill_journal(postgres: EmbeddedPostgres) -> int:
    """Fill the journal's table with rows of another document, and return its size: 16 MiB or a little more."""
    connection = await asyncpg.connect(postgres.url)
    try:
        await connection.execute("insert into documents (name) values ('filler')")
        await connection.execute(
            "insert into document_updates (document_id, update, actor_id, client_ids, reach)"
            " select id, convert_to(repeat('x', 1900), 'utf8'), 'filler', '{}', '\\x00'"
            " from documents, generate_series(1, 8500) where name = 'filler'"
        )
        return int(await connection.fetchval("select pg_relation_size('document_updates')"))
    finally:
        await connection.close()


def random_text(size: int) -> str:
    return "".join(random.Random(size).choices("abcdefghijklmnop", k=size))


async def test_what_the_last_one_sent_before_leaving_is_stored_before_the_room_goes(
    start_server: StartServer, postgres_server: EmbeddedPostgres
) -> None:
    """F23: committed, then checkpointed, and only then unloaded."""
    server = start_server(auth="open", database_url=postgres_server.url, room_grace_s=0)
    try:
        async with Client(server.websocket_url, "last") as ada:
            pause(postgres_server)
            await ada.type("the last word")
        await until_metric(server, "collab_members", 0)
        await until_more(server, BACKLOG, 0)
        loop = asyncio.get_running_loop()
        until = loop.time() + 1.5
        while loop.time() < until:  # three rounds of housekeeping: the fact is that nothing happens
            assert await asyncio.to_thread(metric, server, "collab_rooms") == 1
            assert await asyncio.to_thread(metric, server, BACKLOG) > 0
    finally:
        resume(postgres_server)
    await until_gone(server, "collab_rooms")
    assert metric(server, BACKLOG) == 0
    assert metric(server, "collab_checkpoints_total", outcome="written") == 1
    assert await journaled(server, "last") == 1
    assert await stored_text(server, "last") == "the last word"
