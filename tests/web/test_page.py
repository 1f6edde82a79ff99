"""The page around the text: signing in, the bar, themes, a phone."""

import re

import pytest
from playwright.async_api import Locator, Page, expect

from tests.web.conftest import DESKTOP, PHONE, DevServer, OpenPage, address, enter, text_of

pytestmark = pytest.mark.asyncio(loop_scope="session")


def document_field(page: Page) -> Locator:
    return page.get_by_role("textbox", name="Document", exact=True)


async def fits(page: Page) -> bool:
    """Whether nothing reaches beyond the window's width."""
    return bool(
        await page.evaluate(
            """() => document.documentElement.scrollWidth <= innerWidth && [...document.querySelectorAll("body *")]
                .filter((element) => element.checkVisibility({ visibilityProperty: true }) && !element.closest("svg"))
                .every((element) => element.getBoundingClientRect().right <= innerWidth + 0.5)"""
        )
    )


async def test_signing_in_takes_only_a_keyboard(open_page: OpenPage, document: str) -> None:
    page = await open_page()
    await expect(page.get_by_role("button", name="Open document")).to_be_focused()
    await page.keyboard.press("Shift+Tab")  # the role
    await expect(page.get_by_role("radio", name="can edit")).to_be_focused()
    await page.keyboard.press("Shift+Tab")
    await expect(document_field(page)).to_be_focused()
    await page.keyboard.press("Control+a")
    await page.keyboard.type(document)
    await page.keyboard.press("Shift+Tab")
    await page.keyboard.press("Shift+Tab")
    await expect(page.get_by_label("Your name")).to_be_focused()
    await page.keyboard.press("Control+a")
    await page.keyboard.type("Keyboard Kim")
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("status")).to_have_text("Live")
    await page.keyboard.type("typed at once")  # the text has the focus
    await expect(text_of(page)).to_have_text("typed at once")


async def test_the_address_fills_in_the_card(open_page: OpenPage) -> None:
    page = await open_page(address("plans", "Zoë", "viewer"))
    await expect(page.get_by_label("Your name")).to_have_value("Zoë")
    await expect(document_field(page)).to_have_value("plans")
    await expect(page.get_by_role("radio", name="can view")).to_be_checked()
    await expect(page.locator("#headline-name")).to_have_text("Zoë")


async def test_a_wrong_document_name_is_explained(open_page: OpenPage) -> None:
    page = await open_page(address("no spaces here", "Ada"))
    await page.get_by_role("button", name="Open document").click()
    field = document_field(page)
    await expect(field).to_be_focused()
    await expect(field).to_have_attribute("aria-invalid", "true")
    await expect(field).to_have_accessible_description(re.compile("letters, digits"))


async def test_what_the_server_refuses_is_shown(open_page: OpenPage, document: str, complaints: list[str]) -> None:
    page = await open_page(address(document, "Ada\u202e"))
    await page.get_by_role("button", name="Open document").click()
    await expect(page.get_by_text("cannot be shown")).to_be_visible()
    assert all("422" in complaint for complaint in complaints)  # the browser notes the refused request
    complaints.clear()


async def test_the_token_is_in_no_address_and_no_storage(join: OpenPage, document: str) -> None:
    page = await join("Ada")
    assert page.url.endswith(f"/?document={document}")
    stored = await page.evaluate("JSON.stringify([{...localStorage}, {...sessionStorage}, document.cookie])")
    assert stored == '[{"name":"Ada"},{},""]'


async def test_the_second_tab_is_somebody_else_in_the_same_document(join: OpenPage, document: str) -> None:
    page = await join("Ada")
    async with page.expect_popup() as opened:
        await page.get_by_role("link", name="Open a second tab").click()
    second = await opened.value
    await expect(document_field(second)).to_have_value(document)
    assert await second.get_by_label("Your name").input_value() not in {"", "Ada"}
    await enter(second)
    await expect(page.get_by_role("button", name="Who is here")).to_contain_text("2 here")


async def test_the_link_is_copied(join: OpenPage, document: str, dev_server: DevServer) -> None:
    page = await join("Ada")
    await page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    await page.get_by_role("button", name="Copy link").click()
    await expect(page.locator("[data-said=Copied]")).to_be_visible()
    assert await page.evaluate("navigator.clipboard.readText()") == f"{dev_server.page_url}?document={document}"


async def test_leaving_goes_back_and_is_seen(join: OpenPage) -> None:
    ada, grace = await join("Ada"), await join("Grace")
    await expect(ada.get_by_role("button", name="Who is here")).to_contain_text("2 here")
    await grace.get_by_role("button", name="Leave the document").click()
    await expect(grace.get_by_role("button", name="Open document")).to_be_focused()
    await expect(ada.get_by_role("button", name="Who is here")).to_contain_text("1 here")
    await enter(grace)
    await expect(ada.get_by_role("button", name="Who is here")).to_contain_text("2 here")


async def test_the_theme_follows_the_system_until_one_is_chosen(open_page: OpenPage) -> None:
    page = await open_page()
    root = page.locator("html")
    await expect(root).to_have_attribute("data-theme", "light")
    await page.emulate_media(color_scheme="dark")
    await expect(root).to_have_attribute("data-theme", "dark")
    await page.get_by_role("button", name="Switch to the light theme").click()
    await expect(root).to_have_attribute("data-theme", "light")
    await page.reload()
    await expect(root).to_have_attribute("data-theme", "light")


async def test_a_phone_scrolls_only_up_and_down(open_page: OpenPage, join: OpenPage, document: str) -> None:
    card = await open_page(address(document, "W" * 60), viewport=PHONE)
    assert await fits(card)
    page = await join("Maximiliana von Hohenzollern-Sigmaringen", viewport=PHONE)
    for name in ("Ada", "Bob", "Cyd", "Dan"):
        await join(name)
    await text_of(page).press_sequentially("unbreakable" * 9)
    await expect(page.get_by_role("button", name="Who is here")).to_contain_text("5 here")
    assert await fits(page)
    await page.get_by_role("button", name="Who is here").click()
    assert await fits(page)


@pytest.mark.parametrize("viewport", [DESKTOP, PHONE])
async def test_connecting_moves_nothing(open_page: OpenPage, document: str, viewport: dict[str, int]) -> None:
    page = await open_page(address(document, "Ada"), viewport=viewport)
    await page.evaluate(
        """() => new PerformanceObserver((list) => {
            window.shifts = [...(window.shifts ?? []), ...list.getEntries().filter((shift) => !shift.hadRecentInput)];
        }).observe({ type: "layout-shift", buffered: true })"""
    )
    await enter(page)
    await expect(page.get_by_text("Nothing here yet")).to_be_visible()
    assert await page.evaluate("(window.shifts ?? []).reduce((sum, shift) => sum + shift.value, 0)") < 0.01


async def test_the_page_asks_nobody_but_us(open_page: OpenPage, document: str, dev_server: DevServer) -> None:
    page = await open_page(goes_there=False)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("websocket", lambda websocket: asked.append(websocket.url))
    await page.goto(address(document, "Ada").replace("?", "/?", 1))
    await enter(page)
    ours = (dev_server.page_url, f"{dev_server.websocket_url}/")
    assert [url for url in asked if not url.startswith(ours)] == []
    assert any(url.startswith(dev_server.websocket_url) for url in asked)


async def page_that_signs_in_by(auth: str, open_page: OpenPage, dev_server: DevServer, document: str) -> Page:
    """The page as a server with another way of signing in would have it."""
    page = await open_page(goes_there=False)
    config = {"websocket_url": dev_server.websocket_url, "auth": auth, "build": "test"}
    await page.route("**/config.json", lambda route: route.fulfill(json=config))
    await page.goto("/" + address(document, "Ada"))
    return page


async def test_an_open_server_is_asked_without_a_token(
    open_page: OpenPage, dev_server: DevServer, document: str
) -> None:
    page = await page_that_signs_in_by("open", open_page, dev_server, document)
    await expect(page.get_by_role("radio", name="can edit")).to_be_hidden()
    async with page.expect_websocket() as connecting:
        await page.get_by_role("button", name="Open document").click()
    assert (await connecting.value).url == f"{dev_server.websocket_url}/{document}"


async def test_a_token_of_ones_own_is_used_as_it_is(open_page: OpenPage, dev_server: DevServer, document: str) -> None:
    page = await page_that_signs_in_by("cognito", open_page, dev_server, document)
    asked: list[str] = []
    await page.route_web_socket(re.compile("/ws/"), lambda socket: asked.append(socket.url))
    await expect(page.get_by_label("Your name")).to_be_hidden()
    await page.get_by_label("Access token").fill("not a token")
    await page.get_by_role("button", name="Open document").click()
    await expect(page.get_by_label("Access token")).to_have_accessible_description(re.compile("not a token"))
    token = "e30.eyJ1c2VybmFtZSI6ImFkYSJ9.c2lnbmF0dXJl"  # {"username": "ada"}
    await page.get_by_label("Access token").fill(token)
    await page.get_by_role("button", name="Open document").click()
    await expect(page.get_by_role("status")).to_have_text("Connecting")
    assert asked == [f"{dev_server.websocket_url}/{document}?token={token}"]
