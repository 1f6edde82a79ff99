"""What every audit log owes, on memory and on PostgreSQL: what was noted stays, and can be found again (R095)."""

from __future__ import annotations

from collections.abc import AsyncIterator

import asyncpg
import pytest
import pytest_asyncio

from persistence.audit import LARGEST_ID, Audit, AuditUnavailable, Intended
from persistence.audit_memory import MemoryAudit
from persistence.audit_postgres import PostgresAudit
from persistence.database import create_pool
from tests.services.fixtures_postgres import PostgresOfMajor


@pytest_asyncio.fixture(params=["memory", "postgres"])
async def audit(request: pytest.FixtureRequest, postgres_of_major: PostgresOfMajor) -> AsyncIterator[Audit]:
    if request.param == "memory":
        yield MemoryAudit()
        return
    server = postgres_of_major(None)
    url = await server.fresh_database()
    pool = await create_pool(url, max_size=2)
    yield PostgresAudit(pool)
    await pool.close()
    await server.drop(url)


def kick(operator: str = "root", document: str = "demo", subject: str = "mallory") -> Intended:
    return Intended(operator, "kick", f"rooms/{document}", "task-1", {"subject": subject, "for_s": 60})


async def test_an_act_is_there_before_it_has_an_outcome(audit: Audit) -> None:
    number = await audit.begin(kick())
    [row] = await audit.newest(None, None, LARGEST_ID, 10)
    assert (row.id, row.intended, row.outcome, row.result, row.settled_at) == (number, kick(), None, None, None)


async def test_the_outcome_is_added_once(audit: Audit) -> None:
    number = await audit.begin(kick())
    await audit.settle(number, "done", {"closed": 2})
    await audit.settle(number, "failed", {})
    [row] = await audit.newest(None, None, LARGEST_ID, 10)
    assert (row.outcome, row.result) == ("done", {"closed": 2})
    assert row.settled_at is not None
    assert row.at <= row.settled_at


async def test_acts_are_found_by_whom_and_by_what(audit: Audit) -> None:
    for operator, document in (("root", "a"), ("eve", "a"), ("root", "b")):
        await audit.begin(kick(operator, document))
    assert len(await audit.newest("rooms/a", None, LARGEST_ID, 10)) == 2
    assert len(await audit.newest(None, "root", LARGEST_ID, 10)) == 2
    [row] = await audit.newest("rooms/a", "root", LARGEST_ID, 10)
    assert (row.intended.operator, row.intended.target) == ("root", "rooms/a")
    assert await audit.newest("rooms/a' or true --", None, LARGEST_ID, 10) == []


async def test_pages_go_back_from_the_newest_and_forward_from_any_row(audit: Audit) -> None:
    numbers = [await audit.begin(kick(subject=f"person-{number}")) for number in range(5)]
    first = await audit.newest(None, None, LARGEST_ID, 2)
    assert [row.id for row in first] == [numbers[4], numbers[3]]
    assert [row.id for row in await audit.newest(None, None, first[-1].id, 2)] == [numbers[2], numbers[1]]
    assert [row.id for row in await audit.since(None, None, numbers[1], 2)] == [numbers[2], numbers[3]]
    assert await audit.since(None, None, numbers[4], 2) == []


async def test_whatever_an_operator_writes_is_kept_as_text(audit: Audit) -> None:
    strange = "\x00'\"; drop table admin_actions; -- \N{SNOWMAN}"
    number = await audit.begin(Intended("root", "kick", "rooms/x", "task-1", {"subject": strange}))
    [row] = await audit.newest(None, None, LARGEST_ID, 1)
    assert row.id == number
    assert row.intended.detail["subject"].endswith("-- \N{SNOWMAN}")


@pytest.mark.parametrize(
    "change",
    [
        "delete from admin_actions",
        "update admin_actions set operator = 'somebody else'",
        "update admin_actions set outcome = 'undone'",
    ],
)
async def test_the_table_itself_refuses_to_be_rewritten(postgres_pool: asyncpg.Pool, change: str) -> None:
    audit = PostgresAudit(postgres_pool)
    await audit.settle(await audit.begin(kick()), "done", {})
    with pytest.raises(asyncpg.RestrictViolationError):
        await postgres_pool.execute(change)


async def test_an_act_that_cannot_be_noted_says_so(postgres_pool: asyncpg.Pool) -> None:
    await postgres_pool.close()
    with pytest.raises(AuditUnavailable):
        await PostgresAudit(postgres_pool).begin(kick())
