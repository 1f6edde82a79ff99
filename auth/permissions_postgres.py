"""Grants as PostgreSQL holds them, in the table `document_grants` that persistence's migrations create.

Reads only, one indexed row a call, and never caches: a removed grant must be gone at the next look-up. The pool is the
assembly's, which also closes it. Called through the `Permissions` port.
"""

import asyncio
from importlib import resources

import asyncpg
import structlog

from auth.permissions import PermissionsUnavailable, Role

_log = structlog.get_logger(__name__)
_ROLE_OF = resources.files("auth").joinpath("sql/permissions.sql").read_text(encoding="utf-8")

# asyncpg raises InterfaceError for a closed pool, OSError and PostgresError for a lost or refusing server.
_STORE_FAILED = (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError, asyncpg.InternalClientError)


class PostgresPermissions:
    """Answers within `timeout_s` seconds, waiting for a free connection included, or raises PermissionsUnavailable."""

    def __init__(self, pool: asyncpg.Pool, timeout_s: float = 5.0) -> None:
        self._pool = pool
        self._timeout_s = timeout_s

    async def role_of(self, subject: str, document: str) -> Role | None:
        if not (_is_storable(subject) and _is_storable(document)):
            return None
        try:
            async with asyncio.timeout(self._timeout_s):
                stored = await self._pool.fetchval(_ROLE_OF, subject, document)
        except _STORE_FAILED as failure:
            raise PermissionsUnavailable("grants cannot be read") from failure
        return None if stored is None else _known_role(stored)

    async def close(self) -> None:
        """The pool is closed by whoever opened it."""


def _is_storable(name: str) -> bool:
    """Whether PostgreSQL text can hold it: no NUL, and encodable as UTF-8."""
    return "\0" not in name and not any("\ud800" <= character <= "\udfff" for character in name)


def _known_role(stored: str) -> Role | None:
    try:
        return Role(stored)
    except ValueError:  # written by a newer version during a rolling deploy
        _log.warning("unknown_role_stored", role=stored)
        return None
