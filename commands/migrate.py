"""`collab-server migrate`: bring the database schema up or down. `serve` and `dev` bring it up by themselves."""

from __future__ import annotations

import asyncio

import asyncpg

from collab_server.settings import Settings
from commands.configuration import fail, read_values
from persistence import migrate


def run_migrate(to: str, *, down: bool) -> None:
    """Go to revision `to` and say where the schema is then."""
    url = read_values(Settings).database_url
    if url is None:
        fail("COLLAB_DATABASE_URL is not set: there is no database to migrate.")
    try:
        asyncio.run(_migrate(url.get_secret_value(), to, down))
    except (OSError, asyncpg.PostgresError, LookupError) as error:
        fail(f"the migration failed, nothing has changed: {error}")


async def _migrate(url: str, to: str, down: bool) -> None:
    if down:
        await migrate.downgrade(url, to)
    else:
        await migrate.upgrade(url, to)
    print(f"schema is at {await migrate.current(url) or 'base'}")
