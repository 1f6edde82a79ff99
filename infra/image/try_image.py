"""Starts the image once for real without a container engine: its root as a chroot, its user, command and settings.

A PostgreSQL of the tests on the loopback, a root file system that is read-only, one edit by a real client. It must
never write into the image's root. Called by infra/image/build as root: `python -m infra.image.try_image ROOT IMAGE`,
where IMAGE is what `buildah inspect` says of it. Exits 1, with the server's log, when anything is not as promised.
"""
# ruff: noqa: S101, S603, T201 - a command for people, on commands of its own, whose checks are assertions

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from collab_server.telemetry import configure_logging
from tests.services.client import Client
from tests.services.postgres import PostgresForTests, apart
from tests.services.server import free_port

READY_TIMEOUT_S = 60.0  # a migration and a cold file cache; 2 s on an idle machine
STOP_TIMEOUT_S = 30.0
POLL_S = 0.05
COMPILERS = ("cc", "gcc", "g++", "clang", "make", "ld")

# In a mount namespace of its own, so that every mount ends with the process; `exec` keeps its id, so that signals reach
# the server itself.
IN_THE_IMAGE = """
set -eu
root=$1 data=$2 user=$3 folder=$4
shift 4
mount --bind "$root" "$root"
mount -o remount,bind,ro "$root"
mount --bind /dev "$root/dev"
mount --rbind /proc "$root/proc"
mount -t tmpfs -o mode=1777 tmpfs "$root/tmp"
mount --bind "$data" "$root$folder"
exec chroot --userspec="$user" --groups= "$root" env -i -C "$folder" "$@"
"""


@dataclass(frozen=True, slots=True)
class Image:
    """An unpacked image: its root, its configuration, and the folder that stands for its volume."""

    root: Path
    config: dict[str, Any]
    volume: Path

    def start(self, command: list[str], settings: dict[str, str], **options: Any) -> subprocess.Popen[str]:
        """Start `command` as an engine would: the image's user, environment and working folder."""
        environment = [*self.config["Env"], *(f"{name}={value}" for name, value in settings.items())]
        inside = [str(self.root), str(self.volume), self.config["User"], self.config["WorkingDir"], *environment]
        isolated = ["unshare", "--mount", "--propagation", "private", "sh", "-c", IN_THE_IMAGE, "sh", *inside]
        return subprocess.Popen([*isolated, *command], stdin=subprocess.DEVNULL, text=True, **options)

    def run(self, command: list[str], settings: dict[str, str]) -> str:
        """What `command` prints; it must succeed."""
        ran = self.start(command, settings, stdout=subprocess.PIPE)
        printed, _ = ran.communicate(timeout=READY_TIMEOUT_S)
        assert ran.returncode == 0, f"{command} ended with {ran.returncode}"
        return printed.strip()


def look(image: Image) -> None:
    """What can be seen without starting anything."""
    user = image.config["User"].split(":")[0]
    assert user.isdecimal(), f"the user {user!r} is not a number"
    assert user != "0", "the user is root"
    folders = [image.root / folder for folder in ("usr/bin", "usr/local/bin", "opt/collab-server/bin")]
    found = [tool for tool in COMPILERS for folder in folders if (folder / tool).exists()]
    assert found == [], f"compilers in the image: {found}"
    assert not (image.root / "opt/collab-server/bin/pip").exists(), "pip ships with the server"
    assert not (image.root / "root/.cache").exists(), "a cache was left behind"


def until_ready(server: subprocess.Popen[str], admin_port: int) -> float:
    """Wait for 200 from /readyz; the seconds it took."""
    began = time.monotonic()
    while time.monotonic() - began < READY_TIMEOUT_S:
        assert server.poll() is None, f"the server ended with {server.returncode}"
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{admin_port}/readyz", timeout=2) as answer:
                assert answer.status == 200
                return time.monotonic() - began
        except (urllib.error.URLError, OSError):
            time.sleep(POLL_S)
    raise AssertionError("the server was not ready in time")


async def edit(ws_port: int, token: str) -> None:
    """One person writes, another reads it."""
    url = f"ws://127.0.0.1:{ws_port}/ws"
    async with Client(url, "trial", token=token) as writer, Client(url, "trial", token=token) as reader:
        await writer.type("written in a container")
        await reader.until_text("written in a container")


def stop(server: subprocess.Popen[str]) -> float:
    """Ask it to end as the image says; it must drain and exit 0. The seconds it took."""
    began = time.monotonic()
    server.send_signal(signal.SIGTERM)
    assert server.wait(STOP_TIMEOUT_S) == 0, f"the server ended with {server.returncode}"
    return time.monotonic() - began


def try_image(image: Image, database_url: str, log: Path) -> None:
    """The whole life of one container."""
    look(image)
    ws_port, admin_port = free_port(), free_port()
    settings = {
        "COLLAB_HOST": "127.0.0.1",  # not the image's 0.0.0.0: this machine's network is the container's
        "COLLAB_WS_PORT": str(ws_port),
        "COLLAB_ADMIN_PORT": str(admin_port),
        "COLLAB_DATABASE_URL": database_url,
        "COLLAB_AUTH": "dev",
    }
    entry_point, healthcheck = image.config["Entrypoint"], image.config["Healthcheck"]["Test"]
    assert healthcheck[0] == "CMD", healthcheck
    with log.open("w") as output:
        server = image.start([*entry_point, *image.config["Cmd"], "--allow-embedded"], settings, stderr=output)
    try:
        ready_s = until_ready(server, admin_port)
        image.run(healthcheck[1:], settings)
        asyncio.run(edit(ws_port, image.run([*entry_point, "token", "--user", "ada", "--document", "trial"], settings)))
        stop_s = stop(server)
    finally:
        server.kill()
        server.wait()
    assert "every edit is stored" in log.read_text(), "it did not drain"
    assert list((image.volume / "objects").rglob("*")), "the drain left no checkpoint"
    dead = image.start(healthcheck[1:], settings)
    assert dead.wait(READY_TIMEOUT_S) == 1, "the health check finds a server that is gone"
    print(f"  ready in {ready_s:.1f} s · healthy · edited and read · SIGTERM: drained in {stop_s:.1f} s, exit 0")


def main(root: str, described: str) -> int:
    """Try it on a database and a volume that are gone afterwards."""
    configure_logging("warning", "console")
    postgres = PostgresForTests()
    postgres.start()
    volume = Path(tempfile.mkdtemp(prefix="collab-server-image-"))
    log = Path(f"{volume}.log")
    try:
        image = Image(Path(root), json.loads(Path(described).read_text())["Docker"]["config"], volume)
        owner, group = (int(number) for number in image.config["User"].split(":"))
        os.chown(volume, owner, group)
        try_image(image, apart(postgres.empty_database()), log)
    except (AssertionError, OSError, subprocess.SubprocessError) as failure:
        print(f"the image does not work: {failure}", log.read_text() if log.exists() else "", sep="\n", file=sys.stderr)
        return 1
    finally:
        postgres.stop()
        shutil.rmtree(volume)
        log.unlink(missing_ok=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
