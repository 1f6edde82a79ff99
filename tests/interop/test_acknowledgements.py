"""A stock client's own indicator tells the durable truth: y-websocket's sync status is green only after the commit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.services.fixtures_server import StartServer
from tests.services.node import WITH_SYNC_STATUS, NodeClient
from tests.services.outages import commits_held
from tests.services.server import ServerProcess


@pytest.fixture
def saving(node_packages: Path, start_server: StartServer) -> ServerProcess:
    return start_server(auth="open")


def client(server: ServerProcess, room: str) -> NodeClient:
    return NodeClient(
        server.websocket_url, room, version=WITH_SYNC_STATUS, params={"ack": "1"}, awareness={"user": {"name": "Ada"}}
    )


async def sync_status(at: NodeClient) -> str:
    return str((await at.ask("status"))["sync_status"])


async def test_the_status_turns_green_after_the_commit_and_not_before(saving: ServerProcess, room: str) -> None:
    async with client(saving, room) as ada, NodeClient(saving.websocket_url, room) as bob:
        await ada.ask("insert", at=0, text="one two three")
        await ada.wait("stored")
        async with commits_held(saving.settings["database_url"]):
            await ada.ask("insert", at=0, text="not stored")
            await ada.ask("delete", at=12, length=3)
            await bob.sees("not stored")  # others see it at once
            await bob.ask("delete", at=10, length=6)  # of the same text
            await bob.ask("insert", at=0, text="still typing ")
            await ada.sees("still typing")
            assert await sync_status(ada) == "yellow"
        await ada.wait("stored")


@pytest.mark.parametrize(("edit", "what"), [("insert", {"text": "new"}), ("delete", {"length": 3})])
async def test_a_client_that_reconnects_before_the_commit_stays_unsaved_until_then(
    saving: ServerProcess, room: str, edit: str, what: dict[str, Any]
) -> None:
    async with client(saving, room) as ada, NodeClient(saving.websocket_url, room) as bob:
        await ada.ask("insert", at=0, text="one two three")
        await ada.wait("stored")
        async with commits_held(saving.settings["database_url"]):
            await ada.ask(edit, at=4, **what)
            before = str((await ada.state())["text"])
            await bob.sees_text(before)
            await ada.ask("disconnect")
            await bob.ask("insert", at=0, text="meanwhile ")
            await ada.ask("connect")
            await ada.synced()
            await ada.sees_text("meanwhile " + before)
            assert await sync_status(ada) == "yellow"
        await ada.wait("stored")


async def test_without_asking_a_client_is_sent_nothing_of_its_own(saving: ServerProcess, room: str) -> None:
    async with NodeClient(saving.websocket_url, room, version=WITH_SYNC_STATUS) as ada:
        await ada.ask("insert", at=0, text="one")
        async with client(saving, room) as other:
            await other.sees("one")
            await other.ask("insert", at=0, text="two")
            await ada.sees("two")
            await other.wait("stored")
        assert await sync_status(ada) == "yellow"
