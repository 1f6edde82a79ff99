"""What the page makes of a server that refuses, goes away and comes back."""

import asyncio
import json
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Page, ViewportSize, WebSocketRoute, expect
from pycrdt import Doc, Text

from collab_server.wire import yjs
from collab_server.wire.awareness import AwarenessEntry, AwarenessLimits
from collab_server.wire.messages import Awareness, Renew, SyncStep1
from tests.web.conftest import DESKTOP, PHONE, OpenPage, address, both_show, text_of, until

pytestmark = pytest.mark.asyncio(loop_scope="session")

ANY_DOCUMENT = re.compile("/ws/")


def denial(reason: str) -> bytes:
    """The y-websocket permission-denied message (y-protocols auth.js)."""
    return bytes([2, 0, len(reason)]) + reason.encode()


class Gate:
    """Stands between a page and the server: open, it lets everything through; shut, it does what `shut` says."""

    def __init__(self, shut: Callable[[WebSocketRoute], object]) -> None:
        self.is_open = True
        self.attempts: list[str] = []
        self._shut = shut
        self._last: WebSocketRoute | None = None

    async def guard(self, page: Page) -> Page:
        await page.route_web_socket(ANY_DOCUMENT, self._answer)
        return page

    async def close(self, code: int, reason: str = "") -> None:
        self.is_open = False
        assert self._last is not None
        await self._last.close(code=code, reason=reason)

    async def _answer(self, socket: WebSocketRoute) -> None:
        self.attempts.append(socket.url)
        self._last = socket
        if self.is_open:
            socket.connect_to_server()
        else:
            answer = self._shut(socket)
            if asyncio.iscoroutine(answer):
                await answer


async def guarded_page(open_page: OpenPage, gate: Gate, document: str, viewport: ViewportSize = DESKTOP) -> Page:
    page = await gate.guard(await open_page(goes_there=False, viewport=viewport))
    await page.goto("/" + address(document, "Ada"))
    return page


async def open_document(page: Page) -> None:
    await page.get_by_role("button", name="Open document").click()


@pytest.mark.parametrize(
    ("code", "title"),
    [
        (4403, "You may not open this document"),
        (4404, "There is no such document"),
        (4409, "An edit of yours was refused"),
        (4410, "This document was restored"),
        (4400, "The server closed this connection"),
    ],
)
async def test_a_refused_page_says_why_and_stops(open_page: OpenPage, document: str, code: int, title: str) -> None:
    async def refuse(socket: WebSocketRoute) -> None:
        socket.send(denial("ask the owner first"))
        await socket.close(code=code, reason="refused")

    gate = Gate(refuse)
    gate.is_open = False
    page = await guarded_page(open_page, gate, document)
    await page.clock.install()
    await open_document(page)
    await expect(page.get_by_role("status")).to_have_text("Refused")
    await expect(page.get_by_role("alert").filter(has_text=title)).to_contain_text("Ask the owner first.")
    await page.clock.run_for(60_000)  # ms; a page that retries does so every 2.5 s
    assert len(gate.attempts) == 1
    await page.get_by_role("button", name=re.compile("another document|sign-in|anew")).click()
    await expect(page.get_by_role("button", name="Open document")).to_be_focused()


async def test_a_denial_without_a_close_stops_the_page_too(open_page: OpenPage, document: str) -> None:
    gate = Gate(lambda socket: socket.send(denial("not today")))
    gate.is_open = False
    page = await guarded_page(open_page, gate, document)
    await open_document(page)
    await expect(page.get_by_role("status")).to_have_text("Refused")
    await expect(page.get_by_role("alert").filter(has_text="Not today.")).to_be_visible()


async def test_a_refusal_midway_keeps_the_text_readable(open_page: OpenPage, document: str) -> None:
    gate = Gate(lambda socket: socket.close(code=4403))
    page = await guarded_page(open_page, gate, document)
    await open_document(page)
    await expect(page.get_by_role("status")).to_have_text("Live")
    await text_of(page).press_sequentially("mine to read")
    await gate.close(4403, "your access was removed")
    await expect(page.get_by_role("alert").filter(has_text="Your access was removed.")).to_be_visible()
    await expect(text_of(page)).to_have_text("mine to read")
    await expect(text_of(page)).to_have_attribute("aria-readonly", "true")


@pytest.mark.parametrize("viewport", [DESKTOP, PHONE], ids=["desktop", "phone"])
@pytest.mark.parametrize(("code", "title"), [(4409, "An edit of yours was refused"), (4410, "This document was restored")])
async def test_a_copy_that_is_refused_stays_on_screen_and_can_be_saved(
    open_page: OpenPage, document: str, code: int, title: str, viewport: ViewportSize
) -> None:
    gate = Gate(lambda socket: socket.close(code=code))
    page = await guarded_page(open_page, gate, document, viewport)
    await open_document(page)
    await expect(page.get_by_role("status")).to_have_text("Live")
    await text_of(page).press_sequentially("a page of mine 😀")
    await gate.close(code, "whatever the server says")
    await expect(page.get_by_role("alert").filter(has_text=title)).to_be_visible()
    await expect(text_of(page)).to_have_text("a page of mine 😀")
    assert (await saved(page, "Save text")) == (f"{document}-my-copy.txt", "a page of mine 😀".encode())
    name, update = await saved(page, "Save as .yjs")
    assert name == f"{document}-my-copy.yjs"
    copy: Doc[Any] = Doc()
    copy.apply_update(update)
    assert str(copy.get("content", type=Text)) == "a page of mine 😀"
    gate.is_open = True
    await page.get_by_role("button", name="Open it anew").click()
    await open_document(page)
    await expect(page.get_by_role("status")).to_have_text("Live")


async def saved(page: Page, button: str) -> tuple[str, bytes]:
    """The file that a click on `button` saves."""
    async with page.expect_download() as downloading:
        await page.get_by_role("button", name=button).click()
    download = await downloading.value
    return download.suggested_filename, await asyncio.to_thread(Path(await download.path()).read_bytes)


async def test_edits_made_offline_arrive_when_the_server_is_back(
    open_page: OpenPage, join: OpenPage, document: str
) -> None:
    grace = await join("Grace")
    gate = Gate(lambda socket: socket.close(code=1013))
    ada = await guarded_page(open_page, gate, document)
    await open_document(ada)
    await expect(ada.get_by_role("status")).to_have_text("Live")
    await gate.close(1012)
    await expect(ada.get_by_role("status")).to_have_text("Offline, retrying")
    await expect(ada.get_by_text("Your edits stay in this tab")).to_be_visible()
    await text_of(ada).press_sequentially("written offline")
    await expect(ada.locator("#stored")).to_have_text("Not stored yet")
    gate.is_open = True
    await expect(ada.get_by_role("status")).to_have_text("Live")
    await expect(ada.get_by_text("Your edits stay in this tab")).to_be_hidden()
    await both_show([ada, grace], lambda text: text == "written offline")
    await expect(ada.locator("#stored")).to_have_text("All edits stored")


async def test_an_expired_token_is_replaced_without_a_word(open_page: OpenPage, document: str) -> None:
    gate = Gate(lambda socket: socket.close(code=4401))
    page = await guarded_page(open_page, gate, document)
    signed_in: list[str] = []
    page.on("request", lambda request: signed_in.append(request.url) if "sign-in" in request.url else None)
    await open_document(page)
    await expect(page.get_by_role("status")).to_have_text("Live")
    await gate.close(4401, "token expired")
    gate.is_open = True
    await until(lambda: _reached(lambda: len(signed_in) == 2 and len(gate.attempts) == 2))
    await expect(page.get_by_role("status")).to_have_text("Live")
    assert all("token=" in url for url in gate.attempts)


async def test_a_token_that_is_refused_twice_asks_to_sign_in_again(open_page: OpenPage, document: str) -> None:
    gate = Gate(lambda socket: socket.close(code=4401, reason="unknown key"))
    gate.is_open = False
    page = await guarded_page(open_page, gate, document)
    await open_document(page)
    await expect(page.get_by_role("alert").filter(has_text="Unknown key.")).to_be_visible()
    await expect(page.get_by_role("button", name="Sign in again")).to_be_visible()
    assert len(gate.attempts) == 2


class Between:
    """Stands between a page and the server, lets everything through and remembers it."""

    def __init__(self) -> None:
        self.from_page: list[bytes] = []
        self.from_server: list[bytes] = []
        self._page: WebSocketRoute

    async def guard(self, page: Page) -> Page:
        await page.route_web_socket(ANY_DOCUMENT, self._open)
        return page

    def shown(self) -> list[AwarenessEntry]:
        """What the page has said of itself."""
        frames = [yjs.decode(frame, AwarenessLimits()) for frame in self.from_page if frame[0] == 1]
        return [message.entries[0] for message in frames if isinstance(message, Awareness) and message.entries]

    def tell(self, frame: bytes) -> None:
        """Send the page a message as the server would."""
        self._page.send(frame)

    def _open(self, socket: WebSocketRoute) -> None:
        self._page, server = socket, socket.connect_to_server()

        def onwards(message: str | bytes) -> None:
            assert isinstance(message, bytes)
            self.from_page.append(message)
            server.send(message)

        def back(message: str | bytes) -> None:
            assert isinstance(message, bytes)
            self.from_server.append(message)
            socket.send(message)

        socket.on_message(onwards)
        server.on_message(back)


async def test_a_role_that_changes_changes_the_page_in_place(open_page: OpenPage, document: str) -> None:
    between = Between()
    page = await between.guard(await open_page(goes_there=False))
    await page.goto("/" + address(document, "Ada"))
    await open_document(page)
    await expect(text_of(page)).to_have_attribute("contenteditable", "true")
    await until(lambda: _reached(lambda: bool(between.shown())))
    said = between.shown()[-1]
    for clock, role, words, writable in (
        (1, "viewer", "You can view", "false"),
        (2, "editor", "You can edit", "true"),
        (3, "commenter", "You can comment", "false"),
    ):
        state = json.loads(said.state)
        state["user"]["role"] = role
        entry = AwarenessEntry(said.client_id, said.clock + 1_000 + clock, json.dumps(state).encode())
        between.tell(yjs.encode(Awareness((entry,))))
        await expect(page.locator("#own-role")).to_have_text(words)
        await expect(text_of(page)).to_have_attribute("contenteditable", writable)
    await expect(page.get_by_role("status")).to_have_text("Live")


async def test_a_writer_who_is_denied_reads_on_until_it_is_asked_for_edits_again(open_page: OpenPage, document: str) -> None:
    between = Between()
    page = await between.guard(await open_page(goes_there=False))
    await page.goto("/" + address(document, "Ada"))
    await open_document(page)
    await expect(page.get_by_role("status")).to_have_text("Live")
    between.tell(denial("you may read this document but not edit it"))
    await expect(text_of(page)).to_have_attribute("contenteditable", "false")
    await expect(page.get_by_role("status")).to_have_text("Live")
    between.tell(yjs.encode(SyncStep1(b"\x00")))
    await expect(text_of(page)).to_have_attribute("contenteditable", "true")


async def test_a_document_that_is_frozen_when_it_is_opened_can_be_read_and_later_written(
    open_page: OpenPage, document: str
) -> None:
    page = await open_page(goes_there=False)

    def frozen(socket: WebSocketRoute) -> None:
        server = socket.connect_to_server()
        socket.send(denial("an operator has frozen this document"))
        asks = bytes([0, 0])

        def back(frame: str | bytes) -> None:
            if isinstance(frame, str) or not frame.startswith(asks):  # who may not write is not asked
                socket.send(frame)
            else:
                held.append((socket, frame))

        server.on_message(back)

    held: list[tuple[WebSocketRoute, bytes]] = []
    await page.clock.install()
    await page.route_web_socket(ANY_DOCUMENT, frozen)
    await page.goto("/" + address(document, "Ada"))
    await open_document(page)
    await expect(page.locator("#own-role")).to_have_text("You can view")
    await expect(text_of(page)).to_have_attribute("contenteditable", "false")
    await page.clock.fast_forward(5_000)  # longer than it waits for the end that a refusal of the seat has
    await expect(page.get_by_role("status")).to_have_text("Live")
    socket, question = held[-1]
    socket.send(question)  # it is thawed
    await expect(page.locator("#own-role")).to_have_text("You can edit")
    await expect(text_of(page)).to_have_attribute("contenteditable", "true")


async def test_a_token_near_its_end_is_renewed_for_the_seat(open_page: OpenPage, document: str) -> None:
    between = Between()
    page = await between.guard(await open_page(goes_there=False))
    await page.goto("/" + address(document, "Ada"))
    await page.clock.install()
    async with page.expect_response(re.compile("/dev/sign-in")) as signed_in:
        await open_document(page)
    lifetime_s = (await (await signed_in.value).json())["expires_at"] - time.time()
    await expect(page.get_by_role("status")).to_have_text("Live")
    async with page.expect_response(re.compile("/dev/sign-in")) as renewed:
        await page.clock.fast_forward(int(lifetime_s * 0.9) * 1000)
    newer = (await (await renewed.value).json())["token"]
    await until(lambda: _reached(lambda: yjs.encode(Renew(newer)) in between.from_page))
    await until(lambda: _reached(lambda: any(frame[0] == 123 for frame in between.from_server)))
    await expect(text_of(page)).to_have_attribute("contenteditable", "true")


async def _reached(condition: Callable[[], bool]) -> bool:
    return condition()
