"""The clients under test are the published ones, all on one copy of yjs, installed from a lock without addresses."""

import json
import subprocess
from pathlib import Path

from tests.services.node import INTEROP, VERSIONS


def test_every_client_shares_one_copy_of_yjs(node_packages: Path) -> None:
    """Two copies make `instanceof` checks fail and shared types silently break (yjs issue 438).

    The release candidate of y-websocket also brings @y/y, of which it only takes the sync status. That has a lib0 of
    its own, which no other package sees.
    """
    for package in ("yjs", "y-protocols"):
        copies = [path.parent for path in node_packages.rglob(f"{package}/package.json")]
        assert copies == [node_packages / package]
    copies = [path.parent for path in node_packages.rglob("lib0/package.json")]
    assert set(copies) <= {node_packages / "lib0", node_packages / "@y" / "y" / "node_modules" / "lib0"}
    for client in ("y-websocket-1", "y-websocket-2", "y-websocket", "y-websocket-rc"):
        assert resolved(node_packages / client, "yjs").parent.parent == node_packages / "yjs", client


def resolved(package: Path, name: str) -> Path:
    """The file that node loads where `package` asks for `name`."""
    ask = f"console.log(require('module').createRequire('{package / 'package.json'}').resolve('{name}'))"
    return Path(subprocess.run(["node", "-e", ask], check=True, capture_output=True, text=True).stdout.strip())


def test_the_releases_under_test_are_the_installed_ones(node_packages: Path) -> None:
    installed = [
        json.loads((node_packages / alias / "package.json").read_text())["version"]
        for alias in ("y-websocket-1", "y-websocket-2", "y-websocket")
    ]
    assert tuple(installed) == VERSIONS


def test_the_lock_names_no_registry_address() -> None:
    assert '"resolved"' not in (INTEROP / "package-lock.json").read_text()
