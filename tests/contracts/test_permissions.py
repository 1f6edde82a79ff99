"""What every `Permissions` adapter owes, run on each of them."""

import asyncio
from collections.abc import AsyncIterator

import asyncpg
import pytest

from auth.permissions import Permissions, PermissionsUnavailable, Role, Standing
from auth.permissions_memory import MemoryPermissions
from auth.permissions_postgres import QUERIES, PostgresPermissions

INSERT = "insert into document_grants (document, subject, role) values ($1, $2, $3)"


async def role_of(permissions: Permissions, subject: str, document: str) -> Role | None:
    return (await permissions.standings_of([(subject, document)]))[subject, document].role


class PermissionsContract:
    """Subclasses give the fixture `permissions`."""

    async def test_without_a_grant_there_is_no_role(self, permissions: Permissions) -> None:
        assert await role_of(permissions, "alice", "demo") is None

    @pytest.mark.parametrize("role", Role)
    async def test_the_stored_role_is_given_back(self, permissions: Permissions, role: Role) -> None:
        await permissions.set_role("alice", "demo", role)
        assert await role_of(permissions, "alice", "demo") is role

    async def test_a_grant_is_for_its_subject_and_its_document_alone(self, permissions: Permissions) -> None:
        await permissions.set_role("alice", "demo", Role.OWNER)
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
            assert await role_of(permissions, subject, document) is None

    async def test_one_person_can_be_something_else_to_each_document(self, permissions: Permissions) -> None:
        for number, role in enumerate(Role):
            await permissions.set_role("alice", f"document-{number}", role)
        assert [await role_of(permissions, "alice", f"document-{n}") for n in range(len(Role))] == list(Role)

    async def test_a_change_and_a_removal_show_at_the_next_look_up(self, permissions: Permissions) -> None:
        await permissions.set_role("alice", "demo", Role.OWNER)
        assert await role_of(permissions, "alice", "demo") is Role.OWNER
        await permissions.set_role("alice", "demo", Role.VIEWER)
        assert await role_of(permissions, "alice", "demo") is Role.VIEWER
        await permissions.set_role("alice", "demo", None)
        assert await role_of(permissions, "alice", "demo") is None

    async def test_names_outside_ascii_match_exactly(self, permissions: Permissions) -> None:
        await permissions.set_role("Ålice-☃", "demo", Role.EDITOR)
        assert await role_of(permissions, "Ålice-☃", "demo") is Role.EDITOR
        assert await role_of(permissions, "A\u030alice-☃", "demo") is None  # the same to the eye, other code points

    @pytest.mark.parametrize("name", ["alice\0", "\0", "\ud800", "alice\udfff"])
    async def test_a_name_that_no_store_can_hold_has_no_grant(self, permissions: Permissions, name: str) -> None:
        assert await role_of(permissions, name, "demo") is None
        assert await role_of(permissions, "alice", name) is None

    async def test_changing_a_role_tells_what_it_was(self, permissions: Permissions) -> None:
        assert await permissions.set_role("alice", "demo", Role.OWNER) is None
        assert await permissions.set_role("alice", "demo", Role.VIEWER) is Role.OWNER
        assert await permissions.set_role("alice", "demo", Role.VIEWER) is Role.VIEWER
        assert await permissions.set_role("alice", "demo", None) is Role.VIEWER
        assert await permissions.set_role("alice", "demo", None) is None

    async def test_many_pairs_are_answered_at_once_each_for_itself(self, permissions: Permissions) -> None:
        await permissions.set_role("alice", "demo", Role.OWNER)
        await permissions.set_role("bob", "demo", Role.VIEWER)
        await permissions.revoke_tokens("bob", 1_000.0)
        pairs = [("alice", "demo"), ("bob", "demo"), ("bob", "other"), ("alice", "demo"), ("\0", "demo"), ("eve", "")]
        assert await permissions.standings_of(pairs) == {
            ("alice", "demo"): Standing(Role.OWNER),
            ("bob", "demo"): Standing(Role.VIEWER, 1_000.0),
            ("bob", "other"): Standing(None, 1_000.0),
            ("\0", "demo"): Standing(),
            ("eve", ""): Standing(),
        }
        assert await permissions.standings_of([]) == {}

    async def test_a_revocation_never_moves_back(self, permissions: Permissions) -> None:
        for before, expected in ((1_000.0, 1_000.0), (2_000.5, 2_000.5), (1_500.0, 2_000.5)):
            await permissions.revoke_tokens("alice", before)
            standings = await permissions.standings_of([("alice", "demo"), ("bob", "demo")])
            assert standings == {("alice", "demo"): Standing(None, expected), ("bob", "demo"): Standing()}

    @pytest.mark.parametrize("name", ["", "alice\0", "\ud800"])
    async def test_nothing_is_stored_under_a_name_that_no_store_can_hold(
        self, permissions: Permissions, name: str
    ) -> None:
        for subject, document in ((name, "demo"), ("alice", name)):
            with pytest.raises(ValueError, match="no store can hold"):
                await permissions.set_role(subject, document, Role.VIEWER)
        with pytest.raises(ValueError, match="no store can hold"):
            await permissions.revoke_tokens(name, 1_000.0)

    async def test_many_can_ask_at_once(self, permissions: Permissions) -> None:
        await permissions.set_role("alice", "demo", Role.EDITOR)
        roles = await asyncio.gather(*(role_of(permissions, "alice", "demo") for _ in range(50)))
        assert roles == [Role.EDITOR] * 50

    async def test_closing_twice_is_harmless(self, permissions: Permissions) -> None:
        await permissions.close()
        await permissions.close()


class TestMemoryPermissions(PermissionsContract):
    @pytest.fixture
    def permissions(self) -> MemoryPermissions:
        return MemoryPermissions()

    async def test_it_can_start_with_grants(self) -> None:
        assert await role_of(MemoryPermissions({("alice", "demo"): Role.OWNER}), "alice", "demo") is Role.OWNER

    async def test_the_callers_own_dict_stays_the_callers(self) -> None:
        grants = {("alice", "demo"): Role.OWNER}
        permissions = MemoryPermissions(grants)
        grants.clear()
        assert await role_of(permissions, "alice", "demo") is Role.OWNER


class TestPostgresPermissions(PermissionsContract):
    @pytest.fixture
    async def pool(self, postgres_url: str) -> AsyncIterator[asyncpg.Pool]:
        async with asyncpg.create_pool(postgres_url, min_size=1, max_size=2) as pool:
            yield pool

    @pytest.fixture
    def permissions(self, pool: asyncpg.Pool) -> PostgresPermissions:
        return PostgresPermissions(pool)

    async def test_a_role_this_version_does_not_know_counts_as_none(
        self, permissions: PostgresPermissions, pool: asyncpg.Pool
    ) -> None:
        await pool.execute("alter table document_grants drop constraint document_grants_role_check")
        await pool.execute(INSERT, "demo", "alice", "superuser")
        assert await role_of(permissions, "alice", "demo") is None

    async def test_without_the_table_it_says_unavailable_and_not_no_grant(
        self, permissions: PostgresPermissions, pool: asyncpg.Pool
    ) -> None:
        await pool.execute("drop table document_grants")
        with pytest.raises(PermissionsUnavailable):
            await role_of(permissions, "alice", "demo")

    async def test_with_every_connection_busy_it_says_unavailable_in_time(self, pool: asyncpg.Pool) -> None:
        async with pool.acquire(), pool.acquire(), asyncio.timeout(10):
            with pytest.raises(PermissionsUnavailable):
                await role_of(PostgresPermissions(pool, timeout_s=0.05), "alice", "demo")

    async def test_a_closed_pool_is_unavailable(self, postgres_url: str) -> None:
        pool = await asyncpg.create_pool(postgres_url, min_size=1, max_size=1)
        await pool.close()
        with pytest.raises(PermissionsUnavailable):
            await role_of(PostgresPermissions(pool), "alice", "demo")

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
                    assert await role_of(permissions, "alice", "demo") is Role.OWNER
                    return
                except PermissionsUnavailable:
                    continue

    async def test_look_ups_read_by_primary_keys(self, pool: asyncpg.Pool) -> None:
        await pool.execute(
            "insert into document_grants (document, subject, role)"
            " select 'document-' || n, 'alice', 'viewer' from generate_series(1, 5000) n"
        )
        await pool.execute(
            "insert into token_revocations (subject, revoked_before)"
            " select 'subject-' || n, now() from generate_series(1, 5000) n"
        )
        await pool.execute("analyze document_grants, token_revocations")
        plan = await pool.fetch(f"explain {QUERIES['standings']}", ["alice"], ["document-7"])
        shown = "\n".join(row[0] for row in plan)
        assert "document_grants_pkey" in shown
        assert "token_revocations_pkey" in shown
