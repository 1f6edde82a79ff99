"""Facts about folding and rendering: what the result holds, what must wait, and how content is counted."""

from itertools import pairwise, permutations
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pycrdt import Doc, Map, Text, XmlElement, XmlFragment

from persistence.fold import FoldRefused, fold, render
from persistence.state_vectors import decode
from tests.unit.persistence.authors import Author, text_of


def state_of(**roots: Any) -> bytes:
    return Doc(roots).get_update()


def test_a_fold_holds_every_row_and_says_so() -> None:
    author = Author(5).write("to be ").write("or not").edit(lambda text: text.clear()).write("that is it")
    result = fold(None, author.rows(first_id=41))
    assert text_of(result.state) == "that is it"
    assert result.contained_ids == (41, 42, 43, 44)
    assert decode(result.state_vector) == decode(author.document.get_state())


def test_a_fold_goes_on_from_the_previous_state() -> None:
    author = Author(5).write("one ").write("two ").write("three")
    first = fold(None, author.rows()[:2])
    second = fold(first.state, author.rows()[2:])
    assert text_of(first.state, root="content") == "one two "
    assert text_of(second.state) == "one two three"
    assert second.contained_ids == (3,)


def test_folding_rows_again_changes_nothing() -> None:
    author = Author(5).write("once")
    once = fold(None, author.rows())
    again = fold(once.state, author.rows() + author.rows())
    assert again.state == once.state
    assert again.contained_ids == (1, 1)


def test_the_order_of_rows_does_not_matter() -> None:
    author = Author(5).write("a").write("b").edit(lambda text: text.__delitem__(0)).write("c")
    for rows in permutations(author.rows()):
        result = fold(None, rows)
        assert text_of(result.state) == "bc"
        assert set(result.contained_ids) == {1, 2, 3, 4}


def test_a_row_that_waits_for_a_row_of_its_own_author_is_not_contained() -> None:
    author = Author(5).write("a").write("b").write("c")
    first, second, third = author.rows()
    result = fold(None, [first, third])
    assert result.contained_ids == (1,)
    assert fold(result.state, [second, third]).contained_ids == (2, 3)
    assert text_of(fold(result.state, [second, third]).state) == "abc"


def test_a_row_that_waits_for_another_authors_row_is_not_contained() -> None:
    alice = Author(5).write("hello")
    bob = Author(6).hear(alice).write(" world")
    waiting = fold(None, bob.rows(first_id=2))
    assert waiting.contained_ids == ()
    assert fold(waiting.state, alice.rows() + bob.rows(first_id=2)).contained_ids == (1, 2)


def test_a_deletion_that_waits_for_what_it_deletes_is_not_contained() -> None:
    alice = Author(5).write("secret")
    bob = Author(6).hear(alice).edit(lambda text: text.clear())
    alone = fold(None, bob.rows(first_id=2))
    assert alone.contained_ids == ()
    assert text_of(fold(alone.state, alice.rows() + bob.rows(first_id=2)).state) == ""


def test_roots_and_types_that_nobody_reads_survive() -> None:
    document: Doc[Any] = Doc({"meta": Map({"title": "Hamlet"}), "page": XmlFragment([XmlElement("p")])})
    result = fold(document.get_update(), Author(5).write("x").rows())
    again: Doc[Any] = Doc()
    again.apply_update(result.state)
    assert again.get("meta", type=Map).to_py() == {"title": "Hamlet"}
    assert str(again.get("page", type=XmlFragment)) == "<p></p>"


@pytest.mark.parametrize("update", [b"", b"\xff\xff\xff", b"\x01\x01\x05"], ids=["empty", "noise", "cut"])
def test_a_row_that_is_no_update_is_refused_by_its_id(update: bytes) -> None:
    with pytest.raises(FoldRefused, match="row 7 "):
        fold(None, [*Author(5).write("x").rows(), (7, update, b"\x00")])


def test_a_row_with_a_broken_reach_is_refused() -> None:
    with pytest.raises(ValueError, match="state vector"):
        fold(None, [(1, Author(5).write("x").updates[0], b"\x7f")])


def test_a_document_without_content_renders_as_nothing() -> None:
    assert render(state_of(meta=Map({"a": 1}))) is None
    assert render(Doc().get_update()) is None


def test_embeds_and_formats_are_not_rendered() -> None:
    author = Author(5).write("INT. HOUSE").edit(lambda text: text.insert_embed(4, {"image": "x.png"}))
    rendered = render(author.edit(lambda text: text.format(0, 4, {"bold": True})).document.get_update())
    assert rendered is not None
    assert (rendered.markdown, rendered.words, rendered.characters) == ("INT. HOUSE", 2, 10)


def test_characters_are_code_points_and_words_are_cut_at_unicode_white_space() -> None:
    rendered = render(state_of(content=Text("né 𝄞👩‍👩‍👧 \n\u3000x\u00a0y")))
    assert rendered is not None
    assert (
        rendered.characters == len(["n", "é", " ", "𝄞", "👩", "\u200d", "👩", "\u200d", "👧", " ", "\n", "\u3000"]) + 3
    )
    assert rendered.words == 4


@given(st.lists(st.tuples(st.integers(0, 1 << 30), st.text(max_size=12), st.booleans()), max_size=12))
def test_the_counts_equal_an_independent_counter(edits: list[tuple[int, str, bool]]) -> None:
    author = Author(5)
    expected = ""
    for position, piece, delete in edits:
        at = position % (len(expected) + 1)
        end = min(len(expected), at + 3) if delete else at
        author.edit(lambda text, a=at, e=end, p=piece, old=expected: _splice(text, old, a, e, p))  # type: ignore[misc]
        expected = expected[:at] + piece + expected[end:]
    rendered = render(fold(None, author.rows()).state)
    if rendered is None:
        assert expected == ""
        return
    assert rendered.markdown == expected
    # UTF-8 marks every byte of a character but its first; a word begins where white space ends.
    assert rendered.characters == sum(byte & 0xC0 != 0x80 for byte in expected.encode())
    gaps = [True, *(character.isspace() for character in expected)]
    assert rendered.words == sum(before and not here for before, here in pairwise(gaps))


def _splice(text: Text, old: str, start: int, end: int, piece: str) -> None:
    """Replace old[start:end]; the text counts in UTF-8 bytes."""
    first, last = len(old[:start].encode()), len(old[:end].encode())
    if last > first:
        del text[first:last]
    if piece:
        text.insert(first, piece)
