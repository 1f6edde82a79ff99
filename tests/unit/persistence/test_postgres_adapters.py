"""Facts about what the PostgreSQL adapters leave in the tables, and what they say when the server is away."""

import asyncio
import signal
import socket
from pathlib import Path
from uuid import uuid4

import asyncpg
import pytest

from persistence import database, migrate
from persistence.catalog import CatalogUnavailable
from persistence.catalog_postgres import PostgresCatalog
from persistence.database import create_pool, load_queries
from persistence.embedded_postgres import EmbeddedPostgres
from persistence.journal import JournalEntry, JournalRefused, JournalUnavailable
from persistence.journal_postgres import PostgresJournal
from persistence.recorder import Recorder


async def test_a_journal_row_holds_everything_about_its_update(postgres_pool: asyncpg.Pool) -> None:
    document = await PostgresCatalog(postgres_pool).find_or_create("demo")
    entry = JournalEntry(document.id, b"\x01\x02", 'al"ice,{}', (1, 2**53 - 1), b"\x00")
    await PostgresJournal(postgres_pool).append([entry])
    row = await postgres_pool.fetchrow("select * from document_updates")
    assert row is not None
    assert dict(row) | {"id": 1, "created_at": None} == {
        "id": 1,
        "document_id": document.id,
        "update": b"\x01\x02",
        "actor_id": 'al"ice,{}',
        "client_ids": [1, 2**53 - 1],
        "reach": b"\x00",
        "created_at": None,
        "folded_into": None,
        "epoch": 0,
    }


async def test_folded_rows_are_not_read_again(postgres_pool: asyncpg.Pool) -> None:
    document = await PostgresCatalog(postgres_pool).find_or_create("demo")
    journal = PostgresJournal(postgres_pool)
    await journal.append([JournalEntry(document.id, bytes([n]), "alice", (), b"\x00") for n in range(4)])
    await postgres_pool.execute("update document_updates set folded_into = 1 where update in ('\\x00', '\\x02')")
    assert [row.update for row in await journal.unfolded(document.id)] == [b"\x01", b"\x03"]


async def test_reading_unfolded_rows_uses_the_partial_index(postgres_pool: asyncpg.Pool) -> None:
    sql = load_queries(Path(migrate.__file__).parent / "sql" / "journal.sql")["unfolded"]
    async with postgres_pool.acquire() as connection, connection.transaction():
        await connection.execute("set local enable_seqscan = off; set local enable_bitmapscan = off")
        plan = await connection.fetch(f"explain {sql.replace('$1', chr(39) + str(uuid4()) + chr(39))}")
    assert "document_updates_unfolded" in "\n".join(line[0] for line in plan)


async def test_content_counts_are_written(postgres_pool: asyncpg.Pool) -> None:
    catalog = PostgresCatalog(postgres_pool)
    document = await catalog.find_or_create("demo")
    await catalog.record_content(document.id, 3, 14, "content/demo.md")
    row = await postgres_pool.fetchrow("select word_count, character_count, content_key from documents")
    assert row is not None
    assert tuple(row) == (3, 14, "content/demo.md")


async def test_a_value_no_column_can_hold_is_refused_and_its_content_not_quoted(postgres_pool: asyncpg.Pool) -> None:
    document = await PostgresCatalog(postgres_pool).find_or_create("demo")
    journal = PostgresJournal(postgres_pool)
    for broken in (
        JournalEntry(document.id, b"", "secret\x00actor", (), b""),
        JournalEntry(document.id, b"", "alice", (2**63,), b""),
    ):
        with pytest.raises(JournalRefused) as refusal:
            await journal.append([broken])
        assert "secret" not in str(refusal.value)


async def test_a_missing_table_is_unavailability_and_not_a_refusal(postgres_pool: asyncpg.Pool) -> None:
    document = await PostgresCatalog(postgres_pool).find_or_create("demo")
    await postgres_pool.execute("alter table document_updates rename to elsewhere")
    journal = PostgresJournal(postgres_pool)
    with pytest.raises(JournalUnavailable):
        await journal.append([JournalEntry(document.id, b"", "alice", (), b"")])
    with pytest.raises(JournalUnavailable):
        await journal.ping()


async def test_sessions_commit_durably_whatever_the_database_defaults_to(postgres_url: str) -> None:
    connection = await asyncpg.connect(postgres_url)
    name = await connection.fetchval("select current_database()")
    await connection.execute(f"alter database {name} set synchronous_commit = off")
    await connection.close()
    pool = await create_pool(postgres_url, application_name="journal")
    try:
        assert await pool.fetchval("show synchronous_commit") == "on"
        assert await pool.fetchval("show application_name") == "journal"
    finally:
        await pool.close()


async def test_an_abandoned_transaction_does_not_return_to_the_pool(postgres_url: str) -> None:
    pool = await create_pool(postgres_url, max_size=1)
    try:
        async with pool.acquire() as connection:
            await connection.execute("begin; insert into documents (name) values ('abandoned')")
        assert await pool.fetchval("select count(*) from documents") == 0
    finally:
        await pool.close()


async def test_a_command_that_hangs_is_unavailability_within_its_bound(postgres_url: str) -> None:
    pool = await create_pool(postgres_url, command_timeout_s=0.2)
    blocker = await asyncpg.connect(postgres_url)
    try:
        await blocker.execute("begin; lock table documents in access exclusive mode")
        with pytest.raises(CatalogUnavailable):
            await PostgresCatalog(pool).find("demo")
        await blocker.execute("rollback")
        assert await PostgresCatalog(pool).find("demo") is None
    finally:
        await blocker.close()
        await pool.close()


async def test_a_pool_that_is_used_up_is_unavailability_within_its_bound(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "BORROW_TIMEOUT_S", 0.05)
    pool = await create_pool(postgres_url, max_size=1)
    async with pool.acquire(), asyncio.timeout(5):
        with pytest.raises(JournalUnavailable):
            await PostgresJournal(pool).ping()
    await PostgresJournal(pool).ping()
    await pool.close()


async def test_a_cancelled_append_does_not_spoil_the_held_connection_for_the_next(postgres_url: str) -> None:
    pool = await create_pool(postgres_url, max_size=4)
    journal = PostgresJournal(pool, hold_connection=True)
    document = await PostgresCatalog(pool).find_or_create("demo")
    entry = JournalEntry(document.id, b"\x00", "alice", (), b"\x00")
    async with pool.acquire() as blocker:
        await blocker.execute("begin; lock table document_updates in access exclusive mode")
        appending = asyncio.create_task(journal.append([entry]))
        async with asyncio.timeout(10):
            while not await blocker.fetchval("select exists (select from pg_locks where not granted)"):  # noqa: ASYNC110
                await asyncio.sleep(0)
        appending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await appending
        await blocker.execute("rollback")
    await journal.append([entry])
    assert len(await journal.unfolded(document.id)) == 1
    await journal.close()
    await pool.close()


@pytest.mark.parametrize("hold_connection", [False, True])
async def test_a_killed_server_loses_nothing_durable_and_the_recorder_goes_on_after_it(
    postgres_server: EmbeddedPostgres, hold_connection: bool
) -> None:
    port, folder = postgres_server.port, postgres_server.folder
    await migrate.upgrade(postgres_server.url)
    pool = await create_pool(postgres_server.url)
    journal = PostgresJournal(pool, hold_connection=hold_connection)
    document = await PostgresCatalog(pool).find_or_create("demo")
    recorder = Recorder(journal, 1_000_000)
    recorder.start()
    for n in range(100):
        recorder.record(JournalEntry(document.id, bytes([n]), "alice", (), b"\x00"))
    await recorder.flush()
    await postgres_server.kill(signal.SIGKILL)
    late = recorder.record(JournalEntry(document.id, b"\xff", "alice", (), b"\x00"))
    with pytest.raises(JournalUnavailable):
        await journal.ping()
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", port)) != 0
    assert recorder.durable < late
    await postgres_server.start(folder, port=port)
    await recorder.flush(late)
    kept = {row.update for row in await journal.unfolded(document.id)}
    assert kept == {bytes([n]) for n in range(100)} | {b"\xff"}
    await recorder.stop()
    await journal.close()
    await pool.close()


def test_a_query_file_that_does_not_explain_itself_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "queries.sql"
    file.write_text("-- name: one\n-- Says what it does.\nselect 1;\n\n-- name: two\n-- And this one.\nselect 2\n")
    assert dict(load_queries(file)) == {"one": "select 1", "two": "select 2"}
    for broken, complaint in {
        "-- name: one\nselect 1\n": "one sentence",
        "-- name: one\n-- Says.\n": "no SQL",
        "-- name: one\n-- Says.\nselect 1\n-- name: one\n-- Says.\nselect 2\n": "twice",
    }.items():
        file.write_text(broken)
        with pytest.raises(ValueError, match=complaint):
            load_queries(file)


async def test_a_database_that_takes_no_writes_is_unavailable_to_a_ping(postgres_url: str) -> None:
    """F05: after a failover it answers every question, and stores nothing."""
    connection = await asyncpg.connect(postgres_url)
    name = await connection.fetchval("select current_database()")
    await connection.execute(f"alter database {name} set default_transaction_read_only = on")
    await connection.close()
    pool = await create_pool(postgres_url)
    try:
        with pytest.raises(JournalUnavailable, match="read-only"):
            await PostgresJournal(pool).ping()
    finally:
        await pool.close()
