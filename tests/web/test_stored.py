"""The page says whether what was written is stored, from the server's acknowledgements and nothing else."""

from __future__ import annotations

import pytest
from playwright.async_api import Page, expect

from tests.services.outages import commits_held
from tests.services.server import ServerProcess
from tests.web.conftest import PHONE, OpenPage

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def says(page: Page, words: str) -> None:
    await expect(page.locator("#stored")).to_have_text(words)


@pytest.mark.parametrize("width", ["desktop", "phone"])
async def test_the_page_tells_what_is_not_stored_yet(join: OpenPage, dev_server: ServerProcess, width: str) -> None:
    page = await join("Ada", **({"viewport": PHONE} if width == "phone" else {}))
    await says(page, "All edits stored")
    async with commits_held(dev_server.settings["database_url"]):
        await page.keyboard.type("a line")
        await says(page, "Not stored yet")
    await says(page, "All edits stored")


async def test_a_viewer_is_told_nothing_about_storage(join: OpenPage) -> None:
    await join("Ada")
    await says(await join("Eve", role="viewer"), "")
