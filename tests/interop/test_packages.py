"""The clients under test are the published ones, all on one copy of yjs, installed from a lock without addresses."""

import json
from pathlib import Path

from tests.services.node import INTEROP, VERSIONS


def test_every_client_shares_one_copy_of_yjs(node_packages: Path) -> None:
    """Two copies make `instanceof` checks fail and shared types silently break (yjs issue 438)."""
    for package in ("yjs", "lib0", "y-protocols"):
        copies = [path.parent for path in node_packages.rglob(f"{package}/package.json")]
        assert copies == [node_packages / package]


def test_the_releases_under_test_are_the_installed_ones(node_packages: Path) -> None:
    installed = [
        json.loads((node_packages / alias / "package.json").read_text())["version"]
        for alias in ("y-websocket-1", "y-websocket-2", "y-websocket")
    ]
    assert tuple(installed) == VERSIONS


def test_the_lock_names_no_registry_address() -> None:
    assert '"resolved"' not in (INTEROP / "package-lock.json").read_text()
