"""Brings the published JavaScript clients, and the peer server, into a cache folder with npm.

Nothing is installed twice, and processes that ask at once wait for the first. Called by the `chaos` command.
"""

from __future__ import annotations

import fcntl
import hashlib
import shutil
import subprocess
from pathlib import Path

HERE = Path(__file__).parent
CLIENTS = HERE / "clients"
PEER = HERE / "peer"
INSTALL_TIMEOUT_S = 900.0
"""The peer's SQLite is compiled where no built one fits."""


class NotInstalled(Exception):
    """The packages cannot be had; the message says why and what to do."""


def node() -> str | None:
    """The node program, if there is one."""
    return shutil.which("node") if shutil.which("npm") else None


def install_clients(cache: Path) -> Path:
    """The folder with the stock y-websocket clients, ready to run. Raises NotInstalled."""
    lock = CLIENTS / "package-lock.json"
    return _install(
        cache / "clients", [CLIENTS / "package.json", lock], ["ci", "--omit=optional", "--ignore-scripts"], [CLIENTS]
    )


def install_peer(cache: Path) -> Path:
    """The folder with Hocuspocus, its SQLite extension and its provider, ready to run. Raises NotInstalled."""
    return _install(cache / "peer", [PEER / "package.json"], ["install", "--no-package-lock"], [CLIENTS, PEER])


def _install(folder: Path, wanted: list[Path], command: list[str], scripts: list[Path]) -> Path:
    npm = shutil.which("npm")
    if npm is None or node() is None:
        raise NotInstalled("the JavaScript clients need node >= 20 and npm on PATH")
    folder.mkdir(parents=True, exist_ok=True)
    stamp = folder / ".installed"
    sum_of_wanted = hashlib.sha256(b"".join(path.read_bytes() for path in wanted)).hexdigest()
    with (folder / ".lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        for path in (path for source in scripts for path in source.glob("*.mjs")):
            shutil.copy(path, folder / path.name)  # beside node_modules, where its imports are looked for
        if stamp.exists() and stamp.read_text() == sum_of_wanted:
            return folder
        for path in wanted:
            shutil.copy(path, folder / path.name)
        done = subprocess.run(  # noqa: S603 - npm, and arguments of our own
            [npm, *command, "--no-audit", "--no-fund"],
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=INSTALL_TIMEOUT_S,
            check=False,
        )
        if done.returncode != 0:
            raise NotInstalled(f"npm {command[0]} failed in {folder}:\n{done.stderr[-2000:]}")
        stamp.write_text(sum_of_wanted)
    return folder
