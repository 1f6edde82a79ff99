"""`collab-server restore`: make an older generation of a document its newest state, beside running servers.

Needs the database and the object storage that the servers use. They notice within seconds: members reconnect, and who
comes with a copy of before is told to save it.
"""

from __future__ import annotations

import asyncio

from collab_server.assembly import restoring
from collab_server.errors import ConfigurationError
from collab_server.settings import Settings
from collab_server.telemetry import configure_logging
from commands.configuration import fail, read_values
from commands.running import logged
from persistence.catalog import Catalog, Document
from persistence.checkpointer import CheckpointRefused
from persistence.documents import DocumentUnloadable
from persistence.errors import StorageUnavailable
from persistence.restore import Restorer, RestoreRefused
from persistence.sandbox import SandboxFailed


def run_restore(name: str, generation: int | None, *, save_first: bool) -> None:
    """Restore `generation`, or say what there is to restore when it is None."""
    settings = read_values(Settings)
    if settings.database_url is None:
        fail("COLLAB_DATABASE_URL is not set: there is no database to restore in.")
    configure_logging("warning", settings.log_format)
    try:
        asyncio.run(_restore(settings, name, generation, save_first))
    except (RestoreRefused, StorageUnavailable, ConfigurationError) as error:
        fail(f"nothing was restored: {error}")
    except (CheckpointRefused, DocumentUnloadable, SandboxFailed) as error:
        fail(
            f"nothing was restored: the newest state cannot be saved first ({error}).",
            "--discard-newest restores without saving it.",
        )


async def _restore(settings: Settings, name: str, generation: int | None, save_first: bool) -> None:
    async with restoring(settings, logged) as (catalog, restorer):
        document = await _find(catalog, name)
        if generation is None:
            await _list(restorer, document)
            return
        restored = await restorer.restore(document, generation, save_first=save_first)
        print(f"{name} is at generation {generation} again, in epoch {restored.epoch}")


async def _find(catalog: Catalog, name: str) -> Document:
    document = await catalog.find(name)
    if document is None:
        raise RestoreRefused(f"there is no document {name}")
    return document


async def _list(restorer: Restorer, document: Document) -> None:
    """One line a generation, newest first."""
    print("generation  epoch  made (UTC)           bytes")
    for kept in await restorer.generations(document):
        made = kept.checkpoint
        print(f"{made.generation:10}  {made.epoch:5}  {kept.made_at:%Y-%m-%d %H:%M:%S}  {made.size_bytes}")
