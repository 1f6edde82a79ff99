"""Brings the peer servers, at the versions of package.json and requirements.txt beside this module, into .cache/peers.

Does nothing when they are there. Called by `__main__`.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
CACHE = HERE.parents[1] / ".cache" / "peers"
INSTALL_TIMEOUT_S = 600.0


class NotInstalled(Exception):
    """A peer could not be installed; the message says why."""


def install(*, node: bool, python: bool) -> None:
    """Install what is missing of the peers that run on node and of the one that runs on Python."""
    CACHE.mkdir(parents=True, exist_ok=True)
    if node:
        _install_node()
    if python:
        _install_python()


def _install_node() -> None:
    for name in ("package.json", "hocuspocus.mjs"):  # beside node_modules, where its imports are looked for
        shutil.copy(HERE / name, CACHE / name)
    if _is_done("node", HERE / "package.json"):
        return
    npm = shutil.which("npm")
    if npm is None or shutil.which("node") is None:
        raise NotInstalled("Hocuspocus and y-websocket need node >= 20 and npm on PATH")
    shutil.rmtree(CACHE / "node_modules", ignore_errors=True)
    # Without LevelDB, which y-websocket needs only to store, and with the newest ws instead of its optional old one.
    _run([npm, "install", "--omit=optional", "--ignore-scripts", "--no-package-lock", "--no-audit", "--no-fund"])
    _done("node", HERE / "package.json")


def _install_python() -> None:
    wanted = HERE / "requirements.txt"
    if _is_done("python", wanted):
        return
    shutil.rmtree(CACHE / "venv", ignore_errors=True)
    _run([sys.executable, "-m", "venv", str(CACHE / "venv")])
    _run([str(CACHE / "venv/bin/python"), "-m", "pip", "install", "--quiet", "--no-deps", "-r", str(wanted)])
    _done("python", wanted)


def _run(command: list[str]) -> None:
    finished = subprocess.run(
        command, cwd=CACHE, capture_output=True, text=True, timeout=INSTALL_TIMEOUT_S, check=False
    )
    if finished.returncode != 0:
        raise NotInstalled(f"{' '.join(command[:4])} failed:\n{finished.stderr[-2000:]}")


def _is_done(name: str, wanted: Path) -> bool:
    stamp = CACHE / f".{name}"
    return stamp.exists() and stamp.read_text() == _hash(wanted)


def _done(name: str, wanted: Path) -> None:
    (CACHE / f".{name}").write_text(_hash(wanted))


def _hash(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
