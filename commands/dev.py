"""`collab-server dev`: everything in one process on this machine, nothing to set up.

Embedded PostgreSQL, a directory for checkpoints, an in-process bus, development keys, and the playground page.
Loopback only unless told otherwise; never for production.
"""

from __future__ import annotations

import sys

from collab_server.assembly import assembled
from collab_server.http_port import HttpPort
from collab_server.settings import DevelopmentSettings, Settings
from collab_server.telemetry import configure_logging
from commands.configuration import read_settings
from commands.page import playground, sign_in_by_name
from commands.running import StartUpLines, Stop, drain, run, supervised, until_stopped
from persistence.quarantine import RefusedUpdate
from rest_api.app import create_app


def run_dev() -> None:
    """Read the settings and run until Ctrl-C."""
    settings = read_settings(DevelopmentSettings)
    configure_logging(settings.log_level, settings.log_format)
    crashed = supervised(settings, lambda story: print(f"collab-server: {story}", file=sys.stderr, flush=True))
    run(lambda stop: _dev(settings, stop, crashed))


async def _dev(settings: Settings, stop: Stop, crashed: list[RefusedUpdate]) -> None:
    lines = StartUpLines()
    own_pages = tuple(f"http://{host}:{settings.http_port}" for host in ("127.0.0.1", "localhost"))
    settings = settings.model_copy(update={"allowed_origins": (*settings.allowed_origins, *own_pages)})
    async with assembled(settings, lines, crashed) as parts:
        shown = playground(f"ws://{settings.host}:{parts.server.port}/ws", settings.auth)
        app = create_app(shown, sign_in_by_name(parts.sign_in.dev_keys))
        page = HttpPort(app, settings.host, settings.http_port, "COLLAB_HTTP_PORT")
        with lines("Web page") as started:
            await page.start()
            started(f"http://{settings.host}:{page.port}/")
        try:
            lines.say(f"ready http://{settings.host}:{page.port}/")
            await until_stopped(parts, stop)
        finally:
            await page.close()
        await drain(parts, stop, lines.say)
