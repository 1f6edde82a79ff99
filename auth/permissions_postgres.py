"""Grants and revocations as PostgreSQL holds them, in the tables that persistence's migrations create.

Never caches: a removed grant must be gone at the next look-up. Every look-up reads by primary keys, every call is one
statement. The pool is the assembly's, which also closes it. Called through the `Permissions` port.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import asynccontextmanager
from importlib import resources

import asyncpg
import structlog

from auth.permissions import Pair, PermissionsUnavailable, Role, Standing, check_storable, is_storable

_log = structlog.get_logger(__name__)
_SQL = resources.files("auth").joinpath("sql/permissions.sql").read_text(encoding="utf-8")
QUERIES = {name: sql.strip() for name, sql in re.findall(r"^-- (\w+): .*\n((?:(?!-- ).*\n)+)", _SQL, re.MULTILINE)}

# asyncpg raises InterfaceError for a closed pool, OSError and PostgresError for a lost or refusing server.
_STORE_FAILED = (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError, asyncpg.InternalClientError)
_NOTHING = Standing()


class PostgresPermissions:
    """Answers within `timeout_s` seconds, waiting for a free connection included, or raises PermissionsUnavailable."""

    def __init__(self, pool: asyncpg.Pool, timeout_s: float = 5.0) -> None:
        self._pool = pool
        self._timeout_s = timeout_s

    async def standings_of(self, pairs: Collection[Pair]) -> Mapping[Pair, Standing]:
        asked = [(subject, document) for subject, document in pairs if is_storable(subject) and is_storable(document)]
        found = dict.fromkeys(pairs, _NOTHING)
        if asked:
            subjects, documents = zip(*asked, strict=True)
            async with self._borrowed() as connection:
                rows = await connection.fetch(QUERIES["standings"], subjects, documents)
            for subject, document, role, revoked_before in rows:
                found[subject, document] = Standing(_known_role(role), revoked_before)
        return found

    async def set_role(self, subject: str, document: str, role: Role | None) -> Role | None:
        check_storable(subject, document)
        async with self._borrowed() as connection:
            if role is None:
                before = await connection.fetchval(QUERIES["withdraw"], subject, document)
            else:
                before = await connection.fetchval(QUERIES["grant"], subject, document, role.value)
        return _known_role(before)

    async def revoke_tokens(self, subject: str, before: float) -> None:
        check_storable(subject)
        async with self._borrowed() as connection:
            await connection.execute(QUERIES["revoke"], subject, before)

    async def close(self) -> None:
        """The pool is closed by whoever opened it."""

    @asynccontextmanager
    async def _borrowed(self) -> AsyncIterator[asyncpg.Connection]:
        try:
            async with asyncio.timeout(self._timeout_s), self._pool.acquire() as connection:
                yield connection
        except _STORE_FAILED as failure:
            raise PermissionsUnavailable("grants cannot be read") from failure


def _known_role(stored: str | None) -> Role | None:
    if stored is None:
        return None
    try:
        return Role(stored)
    except ValueError:  # written by a newer version during a rolling deploy
        _log.warning("unknown_role_stored", role=stored)
        return None
