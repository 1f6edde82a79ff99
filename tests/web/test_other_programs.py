"""A page in a document that another program edits too, in ways the page itself never would."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from playwright.async_api import expect
from pycrdt import (
    Awareness,
    Doc,
    Text,
    create_awareness_message,
    create_sync_message,
    create_update_message,
    handle_sync_message,
)
from websockets.asyncio.client import ClientConnection, connect

from tests.web.conftest import DevServer, OpenPage, both_show, text_of

pytestmark = pytest.mark.asyncio(loop_scope="session")


class Program:
    """A Yjs client without a screen."""

    def __init__(self, connection: ClientConnection) -> None:
        self.doc: Doc[Any] = Doc()
        self.text = self.doc.get("content", type=Text)
        self.awareness = Awareness(self.doc)
        self._connection = connection

    async def meet(self) -> None:
        await self._connection.send(create_sync_message(self.doc))
        await self._read_until(lambda frame: frame[:2] == b"\x00\x01")

    async def write(self, text: str) -> None:
        self.text += text
        await self._connection.send(create_update_message(self.doc.get_update()))

    async def say(self, state: dict[str, Any]) -> None:
        self.awareness.set_local_state(state)
        update = self.awareness.encode_awareness_update([self.doc.client_id])
        await self._connection.send(create_awareness_message(update))

    async def reads(self, text: str) -> None:
        await self._read_until(lambda _: str(self.text) == text)

    async def _read_until(self, enough: Callable[[bytes], bool]) -> None:
        async with asyncio.timeout(15):
            async for frame in self._connection:
                assert isinstance(frame, bytes)
                if frame[0] == 0 and (reply := handle_sync_message(frame[1:], self.doc)) is not None:
                    await self._connection.send(reply)
                if enough(frame):
                    return


@asynccontextmanager
async def program(server: DevServer, document: str) -> AsyncIterator[Program]:
    async with httpx.AsyncClient(base_url=server.page_url) as client:
        answer = await client.post("/dev/sign-in", json={"name": "Program", "document": document})
    token = answer.raise_for_status().json()["token"]
    async with connect(f"{server.websocket_url}/{document}?token={token}") as connection:
        member = Program(connection)
        await member.meet()
        yield member


async def test_windows_line_breaks_of_others_keep_positions_right(
    join: OpenPage, dev_server: DevServer, document: str
) -> None:
    ada = await join("Ada")
    async with program(dev_server, document) as other:
        await other.write("one\r\ntwo\r\nthree")
        await both_show([ada], lambda text: text.endswith("three"))
        await text_of(ada).press("Control+End")
        await text_of(ada).press_sequentially("!")
        await other.reads("one\r\ntwo\r\nthree!")


async def test_what_others_claim_never_becomes_style_or_markup(
    join: OpenPage, dev_server: DevServer, document: str
) -> None:
    ada = await join("Ada")
    async with program(dev_server, document) as other:
        await other.write("text")
        place = {"type": None, "tname": "content", "item": None, "assoc": 0}
        user = {"name": "<img src=x onerror=alert(1)>", "color": "red;position:fixed;inset:0", "role": "editor"}
        await other.say({"user": user, "cursor": {"anchor": place, "head": place}})
        caret = text_of(ada).locator(".caret")
        await expect(caret).to_be_visible()
        assert await caret.get_attribute("style") is None
        assert await caret.locator("img").count() == 0
        await other.say({"user": user, "cursor": {"anchor": {"tname": 7}, "head": ["no", "position"]}})
        await expect(caret).to_have_count(0)
        await other.say({"user": "nobody", "cursor": 3})
        await text_of(ada).press_sequentially("still works")
        await both_show([ada], lambda text: "still works" in text)
