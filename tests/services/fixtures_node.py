"""Fixtures for tests that run JavaScript clients; listed in `pytest_plugins`."""

from pathlib import Path

import pytest

from tests.services.node import INTEROP, install_packages


@pytest.fixture(scope="session")
def node_packages() -> Path:
    """tests/interop/node_modules as its lock file says. Fails, never skips, where node is missing."""
    return install_packages(INTEROP)
