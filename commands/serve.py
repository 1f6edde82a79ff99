"""`collab-server serve`: the WebSocket server for production. Refuses to start on parts that belong to development."""

from __future__ import annotations

import structlog

from collab_server.assembly import assembled
from collab_server.settings import Settings
from collab_server.telemetry import configure_logging
from commands.configuration import fail, read_values
from commands.running import Stop, drain, logged, run, supervised, until_stopped
from persistence.quarantine import RefusedUpdate

log = structlog.get_logger(__name__)


def run_serve(*, allow_embedded: bool) -> None:
    """Read the settings and run until SIGTERM. Ends at once when a part is not fit for production."""
    settings = read_values(Settings)
    embedded = [] if allow_embedded else settings.embedded_parts()
    if found := settings.problems() + embedded:
        hint = "What belongs to one machine only is let through by --allow-embedded."
        fail(*found, *([hint] if embedded else []))
    configure_logging(settings.log_level, settings.log_format)
    crashed = supervised(settings, lambda story: log.critical("server_crashed", detail=story))
    run(lambda stop: _serve(settings, stop, crashed))


async def _serve(settings: Settings, stop: Stop, crashed: list[RefusedUpdate]) -> None:
    async with assembled(settings, logged, crashed) as parts:
        log.info("ready", port=parts.server.port, admin_port=parts.admin.port)
        await until_stopped(parts, stop)
        await drain(parts, stop, lambda line: log.info("drain", detail=line))
