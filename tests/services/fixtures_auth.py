"""Fixtures for tests that sign people in; listed in `pytest_plugins`."""

from collections.abc import Iterator

import pytest

from tests.services.jwks import JwksServer


@pytest.fixture
def jwks_server() -> Iterator[JwksServer]:
    """A JWKS server on a free loopback port, without keys until a test publishes some."""
    with JwksServer() as server:
        yield server
