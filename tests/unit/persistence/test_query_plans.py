"""Facts about reading a document beside a month of folded rows: every sentence goes by an index, to its own rows."""

import re
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest_asyncio

from persistence.database import SQL_FOLDER, create_pool, load_queries
from persistence.history import FIRST_ID
from persistence.history_postgres import PostgresHistory

FOLDED_ROWS = 200_000
DOCUMENTS = 100  # one of them has half of the rows
GENERATIONS = 400
FILL = f"""
insert into documents (name) select 'document ' || number from generate_series(1, {DOCUMENTS}) number;
insert into checkpoints (document_id, generation, key, sha256, size_bytes, state_vector)
  select id, generation, 'key', decode(repeat('00', 32), 'hex'), 1, '\\x00'
  from documents cross join generate_series({GENERATIONS} - 2, {GENERATIONS}) generation;
insert into document_updates (document_id, update, actor_id, client_ids, reach, created_at, folded_into)
  select target.id, decode(repeat('00', 24), 'hex'), 'alice', '{{1}}', '\\x010501',
    now() - interval '40 days' * (1 - number / {FOLDED_ROWS}.0), 1 + number * {GENERATIONS} / {FOLDED_ROWS}
  from generate_series(0, {FOLDED_ROWS} - 1) number
  join (select id, row_number() over (order by id) - 1 as place from documents) target
    on target.place = case when number % 2 = 0 then 0 else number % {DOCUMENTS} end;
insert into document_updates (document_id, update, actor_id, client_ids, reach)
  select id, '\\x00', 'alice', '{{1}}', '\\x00' from documents cross join generate_series(1, 3);
"""


@pytest_asyncio.fixture
async def month(postgres_url: str) -> AsyncIterator[asyncpg.Pool]:
    """A pool on a database with a month of folded rows."""
    pool = await create_pool(postgres_url, max_size=2, command_timeout_s=60)
    await pool.execute(FILL)
    await pool.execute("vacuum analyze")
    yield pool
    await pool.close()


async def plan(pool: asyncpg.Pool, file: str, name: str, *arguments: str) -> str:
    """How PostgreSQL runs a sentence, and what each step of it read."""
    sql = load_queries(SQL_FOLDER / file)[name]
    for number in range(len(arguments), 0, -1):
        sql = sql.replace(f"${number}", arguments[number - 1])
    lines = [row[0] for row in await pool.fetch(f"explain (analyze, buffers) {sql}")]
    return "\n".join([f"-- {name}", *lines])


def pages_read(text: str) -> int:
    """Pages a plan touched, which unlike time are the same on every machine."""
    return sum(map(int, re.findall(r"(?:hit|read)=(\d+)", re.split(r"\n\s*Buffers: ", text)[1].splitlines()[0])))


async def test_a_month_of_folded_rows_slows_nothing_down(month: asyncpg.Pool) -> None:
    busy = await month.fetchval("select document_id from document_updates group by 1 order by count(*) desc limit 1")
    one = f"'{busy}'::uuid"
    month_ago = datetime.now(UTC) - timedelta(days=30)
    plans = [
        await plan(month, "journal.sql", "unfolded", one),
        await plan(month, "checkpoints.sql", "unfolded_rows", one),
        await plan(month, "checkpoints.sql", "rows_folded_after", one, str(GENERATIONS - 1)),
        await plan(month, "history.sql", "oldest_row", f"array[{one}]"),
        await plan(month, "history.sql", "drop_rows", f"array[{one}]", "3", f"'{month_ago}'::timestamptz", "200"),
    ]
    for text in plans:
        print(text, end="\n\n")
        assert "Seq Scan on document_updates" not in text
    assert all("document_updates_unfolded" in text for text in plans[:2])
    assert "document_updates_folded" in plans[2]
    assert all("document_updates_by_age" in text for text in plans[3:])
    # The busy document's rows of the last generation are 250; all of its rows lie on 1,000 pages.
    assert [pages_read(text) < most for text, most in zip(plans, (20, 20, 150, 20), strict=False)] == [True] * 4

    history = PostgresHistory(month)
    documents = await history.page(FIRST_ID, 200)
    assert len(documents) == DOCUMENTS
    began = time.monotonic()
    assert await history.drop(documents, month_ago, 2_000) == 2_000
    assert time.monotonic() - began < 2.0
