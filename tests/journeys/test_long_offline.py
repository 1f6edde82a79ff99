"""F12: somebody comes back with thousands of edits made offline, to a document that others have edited meanwhile."""

from __future__ import annotations

import asyncio
import random

from collab_server.wire.messages import SyncStep1
from tests.services.client import Client
from tests.services.fixtures_server import StartServer
from tests.services.running import metric, until_gone

EDITS = 5_000


async def test_thousands_of_edits_made_offline_come_back_in_one_message_and_are_stored(
    start_server: StartServer,
) -> None:
    server = start_server(auth="open")
    chance = random.Random(12)
    async with Client(server.websocket_url, "train") as bob:
        await bob.type("before the tunnel. ")
        async with Client(server.websocket_url, "train") as ada:
            await ada.until_text("before the tunnel. ")
        for _ in range(EDITS):
            at = chance.randrange(len(ada.text) + 1)
            if chance.random() < 0.2 and at < len(ada.text):
                del ada.text[at : at + 1]
            else:
                ada.text.insert(at, chance.choice("abcdefgh "))
        for number in range(50):
            await bob.type(f"<bob {number}>", at=chance.randrange(len(bob.text)))
        received = metric(server, "collab_messages_total", kind="sync_step_2")
        back = Client(server.websocket_url, "train")
        back.doc, back.text = ada.doc, ada.text
        async with back:
            await back.until(lambda: sum(isinstance(message, SyncStep1) for message in back.received) == 1)
            await bob.until(lambda: str(bob.text) == str(back.text))
            await until_gone(server, "collab_journal_backlog_bytes")
            assert metric(server, "collab_messages_total", kind="sync_step_2") == received + 1
            assert (back.closed, bob.closed) == (None, None)
            merged, state = str(back.text), back.doc.get_state()
    server.kill()  # nothing but the journal remembers
    await asyncio.to_thread(server.start)
    async with Client(server.websocket_url, "train") as cold:
        assert str(cold.text) == merged
        assert sorted(cold.doc.get_state()) == sorted(state)
