"""Facts about migrations: up, down, up again, together, with rows, on each PostgreSQL at hand (R075, R117)."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest
import pytest_asyncio

from persistence import migrate
from tests.services.fixtures_postgres import PostgresOfMajor
from tests.services.postgres import second_major

MAJORS: list[Path | None] = [None, *([] if second_major() is None else [second_major()])]
# Everything a schema consists of, as the catalogs see it; object ids and attribute numbers left out.
SNAPSHOT = """
select 'column', format('%s.%s %s %s %s', table_name, column_name, data_type, is_nullable, column_default)
  from information_schema.columns where table_schema = 'public'
union all select 'index', indexdef from pg_indexes where schemaname = 'public'
union all select 'constraint', format('%s %s %s', conrelid::regclass, conname, pg_get_constraintdef(oid))
  from pg_constraint where connamespace = 'public'::regnamespace
union all select 'trigger', pg_get_triggerdef(oid) from pg_trigger where not tgisinternal
union all select 'function', pg_get_functiondef(oid) from pg_proc where pronamespace = 'public'::regnamespace
union all select 'option', format('%s %s', relname, reloptions) from pg_class
  where relnamespace = 'public'::regnamespace and reloptions is not null
order by 1, 2
"""
ROWS = """
insert into documents (name) values ('demo');
insert into document_updates (document_id, update, actor_id, client_ids, reach)
  select id, '\\x00', 'alice', '{1}', '\\x00' from documents;
insert into checkpoints (document_id, generation, key, sha256, size_bytes, state_vector)
  select id, 1, 'key', decode(repeat('00', 32), 'hex'), 1, '\\x00' from documents;
insert into document_grants (document, subject, role) values ('demo', 'alice', 'owner');
insert into token_revocations (subject, revoked_before) values ('alice', now());
insert into quarantined_updates (document_id, actor_id, reason, sha256, size_bytes)
  select id, 'mallory', 'depth', decode(repeat('00', 32), 'hex'), 1 from documents;
"""


@pytest_asyncio.fixture(params=MAJORS, ids=lambda binaries: "wheel" if binaries is None else "second_major")
async def empty_url(request: pytest.FixtureRequest, postgres_of_major: PostgresOfMajor) -> AsyncIterator[str]:
    server = postgres_of_major(request.param)
    url = await server.empty_database()
    yield url
    await server.drop(url)


async def fetch(url: str, sql: str) -> list[asyncpg.Record]:
    connection = await asyncpg.connect(url)
    try:
        rows: list[asyncpg.Record] = await connection.fetch(sql)
        return rows
    finally:
        await connection.close()


async def execute(url: str, sql: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(sql)
    finally:
        await connection.close()


async def test_up_down_and_up_again_gives_the_same_schema_with_rows_in_every_table(empty_url: str) -> None:
    untouched = await fetch(empty_url, SNAPSHOT)
    assert await migrate.current(empty_url) is None
    assert await migrate.upgrade(empty_url) == migrate.heads()
    first = await fetch(empty_url, SNAPSHOT)
    await execute(empty_url, ROWS)
    await migrate.downgrade(empty_url, "base")
    assert await migrate.current(empty_url) is None
    assert await fetch(empty_url, SNAPSHOT) == untouched
    await migrate.upgrade(empty_url)
    assert await fetch(empty_url, SNAPSHOT) == first
    assert await migrate.current(empty_url) == migrate.heads()


async def test_many_processes_may_migrate_at_once(empty_url: str) -> None:
    assert set(await asyncio.gather(*(migrate.upgrade(empty_url) for _ in range(8)))) == {migrate.heads()}
    assert len(await fetch(empty_url, "select * from alembic_version")) == 1


async def test_a_migration_that_is_done_changes_nothing(empty_url: str) -> None:
    await migrate.upgrade(empty_url)
    await execute(empty_url, ROWS)
    await migrate.upgrade(empty_url)
    assert len(await fetch(empty_url, "select * from documents")) == 1


async def test_a_migration_that_fails_changes_nothing(empty_url: str) -> None:
    await execute(empty_url, "create table quarantined_updates ()")  # the last table of the first migration
    before = await fetch(empty_url, SNAPSHOT)
    with pytest.raises(asyncpg.DuplicateTableError):
        await migrate.upgrade(empty_url)
    assert await fetch(empty_url, SNAPSHOT) == before
    assert await migrate.current(empty_url) is None


async def test_every_table_that_says_when_it_was_updated_keeps_that_true(postgres_url: str) -> None:
    await execute(postgres_url, ROWS)
    tables = await fetch(
        postgres_url,
        "select table_name from information_schema.columns"
        " where table_schema = 'public' and column_name = 'updated_at'",
    )
    assert {row[0] for row in tables} >= {"documents", "document_grants", "token_revocations"}
    for (table,) in tables:
        await execute(postgres_url, f"update {table} set updated_at = '2001-01-01'")
        [(fresh,)] = await fetch(postgres_url, f"select bool_and(updated_at > now() - interval '1 min') from {table}")
        assert fresh, f"{table}.updated_at is stale after an update"


async def test_a_role_outside_the_four_is_refused(postgres_url: str) -> None:
    with pytest.raises(asyncpg.CheckViolationError):
        await execute(postgres_url, "insert into document_grants (document, subject, role) values ('d', 's', 'admin')")


async def test_a_deleted_document_takes_its_journal_and_checkpoints_along(postgres_url: str) -> None:
    await execute(postgres_url, ROWS)
    await execute(postgres_url, "delete from documents")
    for table in ("document_updates", "checkpoints"):
        assert await fetch(postgres_url, f"select from {table}") == []
    assert len(await fetch(postgres_url, "select from quarantined_updates")) == 1


async def test_a_generation_of_a_document_is_written_once(postgres_url: str) -> None:
    await execute(postgres_url, ROWS)
    with pytest.raises(asyncpg.UniqueViolationError):
        await execute(
            postgres_url,
            "insert into checkpoints (document_id, generation, key, sha256, size_bytes, state_vector)"
            " select document_id, generation, 'other', sha256, size_bytes, state_vector from checkpoints",
        )


def test_every_migration_has_a_way_down() -> None:
    ups = {path.name.removesuffix(".up.sql") for path in migrate.MIGRATIONS.glob("*.up.sql")}
    downs = {path.name.removesuffix(".down.sql") for path in migrate.MIGRATIONS.glob("*.down.sql")}
    assert ups == downs != set()


FLOORS = "select documents.name, generation from journal_floors join documents on documents.id = document_id order by 1"


async def generations_of(url: str, name: str, *generations: int) -> None:
    """A document with these generations, and a row folded into each of them and the one before."""
    await execute(url, f"insert into documents (name) values ('{name}')")
    for generation in generations:
        await execute(
            url,
            "insert into checkpoints (document_id, generation, key, sha256, size_bytes, state_vector)"
            f" select id, {generation}, 'k', decode(repeat('00', 32), 'hex'), 1, '\\x00' from documents"
            f" where name = '{name}'",
        )
        await execute(
            url,
            "insert into document_updates (document_id, update, actor_id, client_ids, reach, folded_into)"
            f" select id, '\\x00', 'alice', '{{1}}', '\\x00', {generation} from documents where name = '{name}'",
        )


async def test_documents_that_were_pruned_before_the_floor_was_kept_get_theirs(empty_url: str) -> None:
    await migrate.upgrade(empty_url, "0001")
    await generations_of(empty_url, "pruned", 4, 5, 6)
    await generations_of(empty_url, "whole", 1, 2)
    await migrate.upgrade(empty_url)
    assert [tuple(row) for row in await fetch(empty_url, FLOORS)] == [("pruned", 4)]


async def test_the_floor_rises_whoever_drops_rows(postgres_url: str) -> None:
    """A server of the last release, or an operator: their sentences know nothing of the floor."""
    await generations_of(postgres_url, "one", 1, 2, 3)
    await generations_of(postgres_url, "two", 1, 2, 3)
    await execute(postgres_url, "delete from document_updates where folded_into is null")
    assert await fetch(postgres_url, FLOORS) == []
    await execute(postgres_url, "delete from document_updates where folded_into = 2")
    assert [tuple(row) for row in await fetch(postgres_url, FLOORS)] == [("one", 2), ("two", 2)]
    await execute(postgres_url, "delete from document_updates where folded_into = 1")
    assert [tuple(row) for row in await fetch(postgres_url, FLOORS)] == [("one", 2), ("two", 2)]
    await execute(postgres_url, "delete from documents")
    assert await fetch(postgres_url, "select from journal_floors") == []
