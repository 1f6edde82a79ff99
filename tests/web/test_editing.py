"""Two people, two real browser pages, one document."""

import asyncio

import pytest
from playwright.async_api import Page, expect

from tests.web.conftest import PHONE, OpenPage, both_show, text_of, written_in

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_two_pages_edit_one_document_and_converge(join: OpenPage) -> None:
    ada, grace = await asyncio.gather(join("Ada"), join("Grace"))
    await text_of(ada).press_sequentially("Hello from Ada. ")
    await both_show([ada, grace], lambda text: text == "Hello from Ada. ")
    await text_of(grace).press("Control+End")
    await asyncio.gather(
        text_of(ada).press_sequentially("abcdefghij" * 3, delay=5), text_of(grace).press_sequentially("0123456789" * 3)
    )
    text = await both_show([ada, grace], lambda text: len(text) == len("Hello from Ada. ") + 60)
    assert sorted(text) == sorted("Hello from Ada. " + "abcdefghij" * 3 + "0123456789" * 3)


async def test_someone_who_comes_later_sees_what_was_written(join: OpenPage) -> None:
    ada = await join("Ada")
    await text_of(ada).press_sequentially("# Título\n😀 two")
    grace = await join("Grace")
    assert await both_show([ada, grace], lambda text: "two" in text) == "# Título\n😀 two"


async def test_undo_takes_back_only_ones_own_words(join: OpenPage) -> None:
    ada, grace = await join("Ada"), await join("Grace")
    await text_of(ada).press_sequentially("ada ")
    await both_show([ada, grace], lambda text: text == "ada ")
    await text_of(grace).press("Control+End")
    await text_of(grace).press_sequentially("grace")
    await both_show([ada, grace], lambda text: text == "ada grace")
    await text_of(ada).press("Control+z")
    assert await both_show([ada, grace], lambda text: "ada" not in text) == "grace"


async def test_pasted_windows_line_breaks_keep_the_pages_together(join: OpenPage) -> None:
    ada, grace = await join("Ada"), await join("Grace")
    await text_of(ada).evaluate(
        """(content) => {
            const clipboardData = new DataTransfer();
            clipboardData.setData("text/plain", "one\\r\\ntwo\\r\\nthree");
            content.dispatchEvent(new ClipboardEvent("paste", { clipboardData, bubbles: true, cancelable: true }));
        }"""
    )
    await text_of(ada).press_sequentially("!")
    assert await both_show([ada, grace], lambda text: text.endswith("!")) == "one\ntwo\nthree!"


async def test_a_remote_cursor_shows_its_name(join: OpenPage) -> None:
    ada = await join("Ada")
    grace = await join("Grace Hopper")
    await text_of(grace).press_sequentially("Here I am")
    label = text_of(ada).locator(".caret-label")
    await expect(label).to_have_text("Grace Hopper")
    await expect(label).to_be_visible()
    await grace.close()
    await expect(label).to_have_count(0)


async def test_a_remote_selection_is_shown(join: OpenPage) -> None:
    ada, grace = await join("Ada"), await join("Grace")
    await text_of(grace).press_sequentially("select me")
    for _ in "me":
        await text_of(grace).press("Shift+ArrowLeft")
    await expect(ada.locator(".selected-by")).to_have_text("me")


async def test_a_label_at_the_right_edge_turns_inwards(join: OpenPage) -> None:
    ada = await join("Ada", viewport=PHONE)
    grace = await join("Wilhelmina Featherstone", viewport=PHONE)
    await text_of(grace).press_sequentially("M" * 18)
    await expect(ada.locator(".caret.inwards .caret-label")).to_be_visible()
    box = await text_of(ada).locator(".caret-label").bounding_box()
    assert box is not None
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= 390


async def test_everyone_sees_who_is_here(join: OpenPage) -> None:
    ada = await join("Ada")
    grace = await join("Grace", role="viewer")
    for page in (ada, grace):
        await expect(page.get_by_role("button", name="Who is here")).to_contain_text("2 here")
    await ada.get_by_role("button", name="Who is here: Ada, Grace").click()
    people = ada.get_by_role("listitem")
    await expect(people.locator(".person-name")).to_have_text(["Ada you", "Grace"])
    await expect(people.locator(".role-badge")).to_have_text(["can edit", "can view"])
    await grace.close()
    await expect(people).to_have_count(1)


async def test_people_get_different_colours(join: OpenPage) -> None:
    pages: list[Page] = [await join("Ada") for _ in range(3)]  # one name, so one colour to begin with
    avatars = pages[-1].locator("#avatars .avatar")
    await expect(avatars).to_have_count(3)
    classes = await avatars.evaluate_all("(all) => all.map((avatar) => avatar.className)")
    assert len(set(classes)) == 3


async def test_a_viewer_cannot_type(join: OpenPage) -> None:
    ada = await join("Ada")
    await text_of(ada).press_sequentially("Ada's words")
    viewer = await join("Vera", role="viewer")
    await both_show([ada, viewer], lambda text: text == "Ada's words")
    await expect(viewer.get_by_text("You can view")).to_be_visible()
    content = text_of(viewer)
    await content.click()
    await content.press("x")
    await content.press("Backspace")
    await content.press("Enter")
    await viewer.keyboard.insert_text("forced")
    await viewer.keyboard.press("Control+x")
    await text_of(ada).press_sequentially("!")  # what the viewer did would have arrived before this
    assert await both_show([ada, viewer], lambda text: text.endswith("!")) == "Ada's words!"


async def test_words_and_characters_are_counted(join: OpenPage) -> None:
    ada = await join("Ada")
    await text_of(ada).press_sequentially("It's a café 😀")
    await expect(ada.get_by_text("3 words · 13 characters")).to_be_visible()


async def test_an_empty_document_says_what_to_do(join: OpenPage) -> None:
    ada = await join("Ada")
    await expect(ada.get_by_text("Nothing here yet. Write the first line")).to_be_visible()
    await text_of(ada).press("x")
    await expect(ada.get_by_text("Nothing here yet")).to_have_count(0)
    assert await written_in(ada) == "x"
