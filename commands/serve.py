"""`collab-server serve`: the WebSocket server for production. Refuses to start on parts that belong to development."""

from __future__ import annotations

import asyncio
from typing import Annotated

import structlog
import typer

from collab_server.assembly import assembled
from collab_server.settings import Settings
from collab_server.telemetry import configure_logging
from commands.running import drain, fail, logged, read_settings, run

log = structlog.get_logger(__name__)


def serve(
    allow_embedded: Annotated[
        bool, typer.Option("--allow-embedded", help="Start even on embedded parts or development sign-in.")
    ] = False,
) -> None:
    """Run the WebSocket server and its admin port (production)."""
    settings = read_settings(Settings)
    if not allow_embedded and (found := settings.embedded_parts()):
        fail(*found, "These are for one machine only: set them, or add --allow-embedded if that is what you want.")
    configure_logging(settings.log_level, settings.log_format)
    run(lambda stop: _serve(settings, stop))


async def _serve(settings: Settings, stop: asyncio.Event) -> None:
    async with assembled(settings, logged) as parts:
        log.info("ready", port=parts.server.port, admin_port=parts.admin.port)
        await stop.wait()
        await drain(parts, lambda line: log.info("drain", detail=line))
