"""A program that agreed on `yjs.ack` hears how many of its messages are durable, over a real socket and journal."""

from __future__ import annotations

import asyncio

import pytest
from pycrdt import Doc, Text
from websockets.typing import Subprotocol

from collab_server.wire.messages import Durable, Update
from tests.services.client import Client
from tests.services.server import ServerProcess


def counted(client: Client) -> int:
    return max((message.messages for message in client.received if isinstance(message, Durable)), default=0)


async def test_every_message_is_counted_once_it_is_stored(open_server: ServerProcess) -> None:
    async with Client(open_server.websocket_url, "counted", subprotocols=[Subprotocol("yjs.ack")]) as client:
        assert client.socket.subprotocol == "yjs.ack"
        await asyncio.gather(*(client.type(f"<{number}>") for number in range(200)))
        await client.until(lambda: counted(client) == 201)  # the answer to the server's question is the first


@pytest.mark.parametrize("ack", ["", "?ack=0", "?ack=true"])
async def test_whoever_does_not_ask_is_sent_nothing_of_its_own(open_server: ServerProcess, ack: str) -> None:
    document = f"unasked-{len(ack)}{ack}"
    async with (
        Client(open_server.websocket_url, document) as client,
        Client(open_server.websocket_url, document) as other,
    ):
        await client.type("mine")
        await other.until_text("mine")
        await other.type("theirs ", at=0)
        await client.until_text("theirs mine")
        assert [type(message) for message in client.received].count(Update) == 1


async def test_a_large_paste_is_counted_when_its_last_piece_is_stored(open_server: ServerProcess) -> None:
    async with Client(open_server.websocket_url, "paste", subprotocols=[Subprotocol("yjs.ack")]) as client:
        doc: Doc[Text] = Doc()
        text = doc.get("content", type=Text)
        for _ in range(400):
            text.insert(0, "word " * 500)
        await client.send(Update(doc.get_update()))
        await client.until(lambda: counted(client) == 2)
        async with Client(open_server.websocket_url, "paste") as cold:
            assert len(cold.text) == len(text)
