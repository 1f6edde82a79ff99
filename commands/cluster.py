"""`collab-server cluster`: several tasks on this machine behind a balancer, with the page, to see them work as one.

Its tasks run as `serve` does, apart from where things are stored and how one signs in. Loopback only unless told
otherwise; never for production.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from auth.dev_keys import DevKeys, DevKeysUnusable
from cluster.deployment import Deployment, Wanted, deployed
from cluster.programs import ProgramFailed, free_port
from collab_server.errors import ConfigurationError
from collab_server.http_port import HttpPort
from collab_server.settings import Auth, DevelopmentSettings, Settings, environment_for
from collab_server.telemetry import configure_logging
from commands.configuration import read_settings
from commands.page import playground, sign_in_by_name
from commands.running import StartUpLines, Stop, run
from persistence.embedded_placement import EmbeddedPostgresError
from rest_api.app import create_app


@dataclass(frozen=True, slots=True)
class Asked:
    """The options of the command."""

    tasks: int
    rolling_restart_every_s: float | None
    s3_python: Path | None


def run_cluster(asked: Asked) -> None:
    """Read the settings and run until Ctrl-C."""
    settings = read_settings(DevelopmentSettings)
    configure_logging(settings.log_level, settings.log_format)
    run(lambda stop: _cluster(settings, asked, stop))


async def _cluster(settings: Settings, asked: Asked, stop: Stop) -> None:
    lines = StartUpLines()
    # What the S3 API holds and what a directory holds are two sets of documents: each has a database of its own.
    folder = settings.data_dir.absolute() / ("cluster" if asked.s3_python is None else "cluster-s3")
    folder.mkdir(parents=True, exist_ok=True)
    page_port = free_port(settings.host, settings.http_port)
    pages = tuple(f"http://{host}:{page_port}" for host in ("127.0.0.1", "localhost"))
    of_tasks = settings.model_copy(
        update={
            "auth": settings.auth,
            "host": "127.0.0.1",  # only the balancer and the page are for others
            "data_dir": folder,
            "allowed_origins": (*settings.allowed_origins, *pages),
            "bus_key": settings.bus_key or secrets.token_urlsafe(24),
            "log_level": settings.log_level if "log_level" in settings.model_fields_set else "info",
        }
    )
    wanted = Wanted(
        asked.tasks,
        folder,
        environment_for(of_tasks),
        settings.host,
        settings.ws_port,
        settings.admin_port,
        asked.s3_python,
    )
    try:
        keys = DevKeys.load_or_create(folder / "keys") if settings.auth is Auth.DEV else None
        async with deployed(wanted, lines, lines.say, stop.hurry) as deployment:
            address = f"ws://{settings.host}:{deployment.balancer.port}/ws"
            page = playground(address, settings.auth)
            port = HttpPort(create_app(page, sign_in_by_name(keys)), settings.host, page_port, "COLLAB_HTTP_PORT")
            with lines("Web page") as started:
                await port.start()
                started(f"http://{settings.host}:{port.port}/")
            try:
                _explain(deployment, settings, folder, lines)
                lines.say(f"ready http://{settings.host}:{port.port}/")
                await _until_stopped(deployment, asked, stop, lines)
            finally:
                await port.close()
            lines.say("stopping: every task is drained")
        lines.say("stopped")
    except (ProgramFailed, EmbeddedPostgresError, DevKeysUnusable, OSError) as error:
        raise ConfigurationError(str(error)) from error


def _explain(deployment: Deployment, settings: Settings, folder: Path, lines: StartUpLines) -> None:
    """What one can do with it."""
    for task in deployment.tasks:
        lines.say(f"  task {task.number}: pid {task.pid}, http://127.0.0.1:{task.admin_port}/readyz, log {task.log}")
    some = deployment.tasks[0].pid
    lines.say(f"  drain a task: kill -TERM {some}; crash it: kill -KILL {some}; it is started again in either case")
    lines.say(f"  a rolling restart of all: kill -USR1 {os.getpid()}; stop everything: Ctrl-C")
    if settings.auth is Auth.DEV:
        lines.say(f"  a token: COLLAB_DATA_DIR={folder} collab-server token --user alice --document demo")


async def _until_stopped(deployment: Deployment, asked: Asked, stop: Stop, lines: StartUpLines) -> None:
    """Wait until told to stop; SIGUSR1, or the time that was asked for, is a rolling restart."""
    wanted = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, wanted.set)

    async def restart_when_wanted() -> None:
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(asked.rolling_restart_every_s):
                    await wanted.wait()
            await deployment.restart_all(lines.say)
            wanted.clear()
            lines.say("rolling restart: done")

    restarting = asyncio.create_task(restart_when_wanted())
    await stop.asked.wait()
    restarting.cancel()
    await asyncio.wait([restarting])
