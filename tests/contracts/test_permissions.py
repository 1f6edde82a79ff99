"""What every `Permissions` adapter owes, run on each of them."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from importlib import resources

import asyncpg
import pytest

from auth.permissions import Permissions, PermissionsUnavailable, Role
from auth.permissions_memory import MemoryPermissions
from auth.permissions_postgres import PostgresPermissions

Grant = Callable[[str, str, Role | None], Awaitable[None]]
"""Stores a grant for (subject, document), or removes it when the role is None."""

INSERT = "insert into document_grants (document, subject, role) values ($1, $2, $3)"


class PermissionsContract:
    """Subclasses give the fixtures `permissions` and `grant`."""

    async def test_without_a_grant_there_is_no_role(self, permissions: Permissions) -> None:
        assert await permissions.role_of("alice", "demo") is None

    @pytest.mark.parametrize("role", Role)
    async def test_the_stored_role_is_given_back(self, permissions: Permissions, grant: Grant, role: Role) -> None:
        await grant("alice", "demo", role)
        assert await permissions.role_of("alice", "demo") is role

    async def test_a_grant_is_for_its_subject_and_its_document_alone(
        self, permissions: Permissions, grant: Grant
    ) -> None:
        await grant("alice", "demo", Role.OWNER)
        for subject, document in [
            ("bob", "demo"),
            ("alice", "other"),
            ("demo", "alice"),
            ("Alice", "demo"),
            ("alice", "DEMO"),
            ("alice ", "demo"),
            ("alice", "demo "),
            ("alice", "dem%"),
            ("alice", "*"),
            ("", ""),
            ("alice' or '1'='1", "demo"),
        ]:
            assert await permissions.role_of(subject, document) is None

    async def test_one_person_can_be_something_else_to_each_document(
        self, permissions: Permissions, grant: Grant
    ) -> None:
        for number, role in enumerate(Role):
            await grant("alice", f"document-{number}", role)
        assert [await permissions.role_of("alice", f"document-{n}") for n in range(len(Role))] == list(Role)

    async def test_a_change_and_a_removal_show_at_the_next_look_up(
        self, permissions: Permissions, grant: Grant
    ) -> None:
        await grant("alice", "demo", Role.OWNER)
        assert await permissions.role_of("alice", "demo") is Role.OWNER
        await grant("alice", "demo", Role.VIEWER)
        assert await permissions.role_of("alice", "demo") is Role.VIEWER
        await grant("alice", "demo", None)
        assert await permissions.role_of("alice", "demo") is None

    async def test_names_outside_ascii_match_exactly(self, permissions: Permissions, grant: Grant) -> None:
        await grant("Ålice-☃", "demo", Role.EDITOR)
        assert await permissions.role_of("Ålice-☃", "demo") is Role.EDITOR
        assert await permissions.role_of("A\u030alice-☃", "demo") is None  # the same to the eye, other code points

    @pytest.mark.parametrize("name", ["alice\0", "\0", "\ud800", "alice\udfff"])
    async def test_a_name_that_no_store_can_hold_has_no_grant(self, permissions: Permissions, name: str) -> None:
        assert await permissions.role_of(name, "demo") is None
        assert await permissions.role_of("alice", name) is None

    async def test_many_can_ask_at_once(self, permissions: Permissions, grant: Grant) -> None:
        await grant("alice", "demo", Role.EDITOR)
        roles = await asyncio.gather(*(permissions.role_of("alice", "demo") for _ in range(50)))
        assert roles == [Role.EDITOR] * 50

    async def test_closing_twice_is_harmless(self, permissions: Permissions) -> None:
        await permissions.close()
        await permissions.close()


class TestMemoryPermissions(PermissionsContract):
    @pytest.fixture
    def permissions(self) -> MemoryPermissions:
        return MemoryPermissions()

    @pytest.fixture
    def grant(self, permissions: MemoryPermissions) -> Grant:
        async def store(subject: str, document: str, role: Role | None) -> None:
            if role is None:
                permissions.revoke(subject, document)
            else:
                permissions.grant(subject, document, role)

        return store

    async def test_it_can_start_with_grants(self) -> None:
        assert await MemoryPermissions({("alice", "demo"): Role.OWNER}).role_of("alice", "demo") is Role.OWNER

    async def test_the_callers_own_dict_stays_the_callers(self) -> None:
        grants = {("alice", "demo"): Role.OWNER}
        permissions = MemoryPermissions(grants)
        grants.clear()
        assert await permissions.role_of("alice", "demo") is Role.OWNER


class TestPostgresPermissions(PermissionsContract):
    @pytest.fixture
    async def pool(self, postgres_url: str) -> AsyncIterator[asyncpg.Pool]:
        async with asyncpg.create_pool(postgres_url, min_size=1, max_size=2) as pool:
            yield pool

    @pytest.fixture
    def permissions(self, pool: asyncpg.Pool) -> PostgresPermissions:
        return PostgresPermissions(pool)

    @pytest.fixture
    def grant(self, pool: asyncpg.Pool) -> Grant:
        async def store(subject: str, document: str, role: Role | None) -> None:
            await pool.execute("delete from document_grants where subject = $1 and document = $2", subject, document)
            if role is not None:
                await pool.execute(INSERT, document, subject, role)

        return store

    async def test_a_role_this_version_does_not_know_counts_as_none(
        self, permissions: PostgresPermissions, pool: asyncpg.Pool
    ) -> None:
        await pool.execute("alter table document_grants drop constraint document_grants_role_check")
        await pool.execute(INSERT, "demo", "alice", "superuser")
        assert await permissions.role_of("alice", "demo") is None

    async def test_without_the_table_it_says_unavailable_and_not_no_grant(
        self, permissions: PostgresPermissions, pool: asyncpg.Pool
    ) -> None:
        await pool.execute("drop table document_grants")
        with pytest.raises(PermissionsUnavailable):
            await permissions.role_of("alice", "demo")

    async def test_with_every_connection_busy_it_says_unavailable_in_time(self, pool: asyncpg.Pool) -> None:
        async with pool.acquire(), pool.acquire(), asyncio.timeout(10):
            with pytest.raises(PermissionsUnavailable):
                await PostgresPermissions(pool, timeout_s=0.05).role_of("alice", "demo")

    async def test_a_closed_pool_is_unavailable(self, postgres_url: str) -> None:
        pool = await asyncpg.create_pool(postgres_url, min_size=1, max_size=1)
        await pool.close()
        with pytest.raises(PermissionsUnavailable):
            await PostgresPermissions(pool).role_of("alice", "demo")

    async def test_a_connection_cut_by_the_server_is_replaced(
        self, permissions: PostgresPermissions, pool: asyncpg.Pool, postgres_url: str
    ) -> None:
        await pool.execute(INSERT, "demo", "alice", "owner")
        rival = await asyncpg.connect(postgres_url)
        await rival.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity"
            " where datname = current_database() and pid <> pg_backend_pid()"
        )
        await rival.close()
        async with asyncio.timeout(10):
            while True:
                try:
                    assert await permissions.role_of("alice", "demo") is Role.OWNER
                    return
                except PermissionsUnavailable:
                    continue

    async def test_the_look_up_reads_by_the_primary_key(self, pool: asyncpg.Pool) -> None:
        query = resources.files("auth").joinpath("sql/permissions.sql").read_text()
        await pool.execute(
            "insert into document_grants (document, subject, role)"
            " select 'document-' || n, 'alice', 'viewer' from generate_series(1, 5000) n"
        )
        await pool.execute("analyze document_grants")
        plan = await pool.fetch(f"explain {query}", "alice", "document-7")
        assert "document_grants_pkey" in "\n".join(row[0] for row in plan)
