"""`collab-server migrate`: bring the database schema up or down. `serve` and `dev` bring it up by themselves."""

from __future__ import annotations

import asyncio
from typing import Annotated

import asyncpg
import typer

from collab_server.settings import Settings
from commands.running import fail, read_values
from persistence import migrate as migrations


def migrate(
    to: Annotated[str, typer.Option(help='Revision to go to: "head", "base", or a number such as 0001.')] = "head",
    down: Annotated[bool, typer.Option("--down", help="Go back: what the steps drop is gone.")] = False,
) -> None:
    """Migrate the database of COLLAB_DATABASE_URL."""
    url = read_values(Settings).database_url
    if url is None:
        fail("COLLAB_DATABASE_URL is not set: there is no database to migrate.")
    try:
        asyncio.run(_migrate(url.get_secret_value(), to, down))
    except (OSError, asyncpg.PostgresError, LookupError) as error:
        fail(f"the migration failed, nothing has changed: {error}")


async def _migrate(url: str, to: str, down: bool) -> None:
    if down:
        await migrations.downgrade(url, to)
    else:
        await migrations.upgrade(url, to)
    print(f"schema is at {await migrations.current(url) or 'base'}")
