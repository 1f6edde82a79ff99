"""Real pages in a real browser. Every page that a test opens must leave its console clean."""

import asyncio
import fcntl
import shutil
import subprocess
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Protocol
from urllib.parse import urlencode

import pytest
import pytest_asyncio
from playwright.async_api import Browser, ConsoleMessage, Locator, Page, ViewportSize, async_playwright, expect

PROJECT = Path(__file__).parents[2]
DESKTOP = ViewportSize(width=1280, height=800)
PHONE = ViewportSize(width=390, height=844)
# No sandbox: as root there is none to be had. The rest keeps the browser from talking to anyone but us.
BROWSER_FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
]
expect.set_options(timeout=15_000)  # ms; a loaded machine is slow, a broken page never gets there


class DevServer(Protocol):
    """Addresses of a running server: its page (ends with a slash) and its documents' WebSockets (does not)."""

    @property
    def page_url(self) -> str: ...
    @property
    def websocket_url(self) -> str: ...


OpenPage = Callable[..., Awaitable[Page]]


@pytest.fixture(scope="session")
def built_page() -> Path:
    """The folder of the built page, made current once: test processes that start together wait for the first."""
    lock_folder = PROJECT / ".cache"
    lock_folder.mkdir(exist_ok=True)
    with (lock_folder / "web-build.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        subprocess.run(["make", "--no-print-directory", "web"], cwd=PROJECT, check=True, timeout=300)
    return PROJECT / "web" / "dist"


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def browser() -> AsyncIterator[Browser]:
    executable = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    assert executable is not None, "these tests need chromium (Debian: apt install chromium)"
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=executable, args=BROWSER_FLAGS)
        yield browser
        await browser.close()


@pytest.fixture
def document() -> str:
    """A document of this test alone."""
    return f"web-{uuid.uuid4().hex[:12]}"


@pytest.fixture
def complaints() -> list[str]:
    """What the consoles of this test's pages said; a test that provokes an error clears it."""
    return []


@pytest_asyncio.fixture(loop_scope="session")
async def open_page(
    browser: Browser, built_page: Path, dev_server: DevServer, complaints: list[str]
) -> AsyncIterator[OpenPage]:
    """Opens pages, each in a browser profile of its own: `await open_page("?document=x", viewport=PHONE)`."""
    contexts = []

    def note(message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"}:
            complaints.append(f"{message.type}: {message.text}")

    async def open_one(query: str = "", viewport: ViewportSize = DESKTOP, goes_there: bool = True) -> Page:
        context = await browser.new_context(base_url=dev_server.page_url, viewport=viewport, color_scheme="light")
        contexts.append(context)
        page = await context.new_page()
        page.on("console", note)
        page.on("pageerror", lambda error: complaints.append(f"exception: {error}"))
        if goes_there:
            await page.goto(f"/{query}")
        return page

    yield open_one
    await asyncio.gather(*(context.close() for context in contexts))
    assert complaints == []


def address(document: str, name: str, role: str = "editor") -> str:
    return "?" + urlencode({"document": document, "name": name, "role": role})


async def enter(page: Page) -> Page:
    """Signs in with what the card says and waits for the document."""
    await page.get_by_role("button", name="Open document").click()
    await expect(page.get_by_role("status")).to_have_text("Live")
    return page


@pytest.fixture
def join(open_page: OpenPage, document: str) -> OpenPage:
    """Opens the test's document: `await join("Ada", role="viewer")`."""

    async def join_as(name: str, role: str = "editor", viewport: ViewportSize = DESKTOP) -> Page:
        return await enter(await open_page(address(document, name, role), viewport=viewport))

    return join_as


def text_of(page: Page) -> Locator:
    return page.get_by_role("textbox", name="Text of")


async def written_in(page: Page) -> str:
    """The text on screen, without other people's carets in it."""
    return str(
        await page.evaluate(
            """() => [...document.querySelectorAll(".cm-line")].map((line) => {
                const copy = line.cloneNode(true);
                copy.querySelectorAll(".caret, .cm-placeholder").forEach((extra) => extra.remove());
                return copy.textContent.replaceAll("\\u200b", "");
            }).join("\\n")"""
        )
    )


async def until(condition: Callable[[], Awaitable[bool]], *, within_s: float = 15) -> None:
    """Waits for `condition`; asking a browser takes long enough to need no longer pause between."""
    async with asyncio.timeout(within_s):
        while not await condition():  # noqa: ASYNC110 - a page has no event to wait on
            await asyncio.sleep(0.02)


async def both_show(pages: list[Page], check: Callable[[str], bool]) -> str:
    """The one text that all `pages` show, as soon as it passes `check`."""
    found: list[str] = []

    async def agreed() -> bool:
        found[:] = [await written_in(page) for page in pages]
        return len(set(found)) == 1 and check(found[0])

    await until(agreed)
    return found[0]
