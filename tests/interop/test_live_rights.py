"""A stock client whose role changes while it is connected: told once, cursors go on, and nothing it typed is lost."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from auth.permissions import Role
from tests.services.fixtures_postgres import PostgresOfMajor
from tests.services.node import NodeClient
from tests.services.rights import set_role
from tests.services.running import running_server
from tests.services.server import ServerProcess
from tests.services.tokens import token


@pytest.fixture(scope="module")
def server(postgres_of_major: PostgresOfMajor, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    with running_server(postgres_of_major, tmp_path_factory, auth="dev") as server:
        yield server


async def test_a_stock_client_reads_on_and_writes_again_in_place(
    node_packages: Path, server: ServerProcess, version: str, room: str
) -> None:
    for subject, role in (("ada", Role.OWNER), ("bob", Role.EDITOR)):
        await set_role(server, room, subject, role)
    carried = {subject: {"token": token(server, subject, document="elsewhere")} for subject in ("ada", "bob")}
    url = server.websocket_url
    async with (
        NodeClient(url, room, version=version, name="Ada", params=carried["ada"]) as ada,
        NodeClient(url, room, version=version, name="Bob", params=carried["bob"]) as bob,
    ):
        await ada.sees_peers("Bob")
        await bob.ask("insert", at=0, text="one ")
        await ada.wait("text", equals="one ")
        for role in (Role.VIEWER, Role.EDITOR):
            await set_role(server, room, "bob", role)
            user = {"id": "bob", "name": "Bob", "role": role.value}
            await ada.wait("peer_field", field="user", value=user)
            if role is Role.VIEWER:
                await bob.wait("event", name="permission-denied", since=0)
                await bob.ask("insert", at=4, text="two ")
                await bob.ask("awareness", state={"cursor": role.value})
                await ada.wait("peer_field", field="cursor", value=role.value)
        await ada.wait("text", equals="one two ")  # typed while it might not
        await bob.ask("awareness", state={"cursor": "again"})
        await ada.wait("peer_field", field="cursor", value="again")
        await bob.ask("insert", at=8, text="three")
        await ada.wait("text", equals="one two three")
        events = await bob.ask("events")
        assert [event["event"] for event in events].count("permission-denied") == 1
        assert not [event for event in events if event["event"] in ("connection-close", "error", "warning")]
