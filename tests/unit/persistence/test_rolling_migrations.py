"""F21: a task of the version before goes on working while, and after, the first task of the next version migrates.

A migration that must break this comes in two releases: first what both versions can live with, later the rest.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from itertools import pairwise
from pathlib import Path

import asyncpg
import pytest_asyncio

from persistence import migrate
from tests.services.fixtures_postgres import PostgresOfMajor

MIGRATIONS = Path(migrate.__file__).parent / "sql" / "migrations"
REVISIONS = sorted(path.name[:4] for path in MIGRATIONS.glob("*.up.sql"))
RETIRED: frozenset[str] = frozenset()
"""Columns, as `table.column`, that already the version before a migration that drops them did not use any more."""

COLUMNS = """
select format('%I.%I', table_name, column_name), data_type, is_nullable = 'NO' as required,
       column_default is not null or is_identity = 'YES' or is_generated = 'ALWAYS' as filled
  from information_schema.columns where table_schema = 'public' and table_name <> 'alembic_version'
"""
UNIQUE = """
select i.indexrelid::regclass::text as name, t.relname as of,
       array(select format('%I.%I', t.relname, a.attname) from pg_attribute a
             where a.attrelid = t.oid and a.attnum = any(i.indkey)) as columns,
       array(select format('%I.%I', t.relname, a.attname) from pg_index p join pg_attribute a
             on a.attrelid = t.oid and a.attnum = any(p.indkey) where p.indrelid = t.oid and p.indisprimary) as key
  from pg_index i join pg_class t on t.oid = i.indrelid join pg_namespace n on n.oid = t.relnamespace
 where i.indisunique and n.nspname = 'public' and t.relname <> 'alembic_version'
"""
REFUSING = """
select conname as name, pg_get_constraintdef(c.oid) as definition, conrelid::regclass::text as of,
       array(select format('%I.%I', conrelid::regclass::text, a.attname) from pg_attribute a
             where a.attrelid = conrelid and a.attnum = any(conkey)) as columns
  from pg_constraint c where connamespace = 'public'::regnamespace and contype in ('c', 'f') and conrelid <> 0
"""


@pytest_asyncio.fixture
async def connection(postgres_of_major: PostgresOfMajor) -> AsyncIterator[tuple[str, asyncpg.Connection]]:
    server = postgres_of_major(None)
    url = await server.empty_database()
    opened = await asyncpg.connect(url)
    yield url, opened
    await opened.close()
    await server.drop(url)


async def test_no_migration_takes_from_the_version_before_what_it_reads_or_refuses_what_it_writes(
    connection: tuple[str, asyncpg.Connection],
) -> None:
    url, database = connection
    await migrate.upgrade(url, REVISIONS[0])
    for before, after in pairwise(REVISIONS):
        columns = {row[0]: row for row in await database.fetch(COLUMNS) if row[0] not in RETIRED}
        unique = {row["name"] for row in await database.fetch(UNIQUE)}
        refusing = {row["name"] for row in await database.fetch(REFUSING)}
        await migrate.upgrade(url, after)
        found = {row[0]: row for row in await database.fetch(COLUMNS)}
        tables = {name.partition(".")[0] for name in columns}
        step = f"{before} to {after}"
        assert columns.keys() <= found.keys(), f"{step} drops or renames a column"
        for name, row in columns.items():
            assert found[name]["data_type"] == row["data_type"], f"{step} changes what {name} is"
            assert not found[name]["required"] or row["required"], f"{step} refuses rows without {name}"
        for name in found.keys() - columns.keys():
            if name.partition(".")[0] in tables:
                assert found[name]["filled"] or not found[name]["required"], f"{step} refuses rows without {name}"
        for row in await database.fetch(UNIQUE):
            if row["name"] not in unique and row["of"] in tables and set(row["columns"]) <= columns.keys():
                assert set(row["key"]) <= set(row["columns"]), f"{step}: {row['name']} refuses rows that were welcome"
        for row in await database.fetch(REFUSING):
            if row["name"] not in refusing and row["of"] in tables:
                is_about_new = not set(row["columns"]) <= columns.keys()
                assert is_about_new, f"{step}: {row['name']} refuses rows that were welcome"


async def test_a_task_of_the_version_before_may_start_on_a_schema_that_is_newer(
    connection: tuple[str, asyncpg.Connection],
) -> None:
    """A crash in the middle of a deploy, or a deploy that is taken back."""
    url, database = connection
    await migrate.upgrade(url)
    await database.execute("update alembic_version set version_num = '9999'")
    assert await migrate.upgrade(url) == "9999"
    assert await migrate.current(url) == "9999"


async def test_a_migration_does_not_wait_for_a_task_that_writes_nor_hold_it_up_for_long(
    connection: tuple[str, asyncpg.Connection],
) -> None:
    url, database = connection
    await migrate.upgrade(url, REVISIONS[0])
    (document_id,) = await database.fetchrow("insert into documents (name) values ('demo') returning id")
    insert = (
        "insert into document_updates (document_id, update, actor_id, client_ids, reach)"
        " values ($1, '\\x00', 'alice', '{1}', '\\x00')"
    )
    migrating = asyncio.create_task(migrate.upgrade(url))
    written = 0
    while not migrating.done() or written < 50:
        async with asyncio.timeout(10):
            await database.execute(insert, document_id)
        written += 1
    assert await migrating == migrate.heads()
    assert await database.fetchval("select count(*) from document_updates where epoch = 0") == written
