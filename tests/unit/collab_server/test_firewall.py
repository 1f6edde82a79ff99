"""What the firewall lets through, what it refuses and for what reason, case by case."""

from __future__ import annotations

import pytest
from pycrdt import Array, Doc, Map, Text

from collab_server.firewall import (
    END_OF_CLOCKS,
    MAX_NESTING,
    UpdateGap,
    UpdateRefused,
    check_state_vector,
    check_update,
)
from collab_server.update_format import MAX_DEPTH, MAX_ROOT_NAME_BYTES
from collab_server.wire import yjs
from collab_server.wire.awareness import AwarenessLimits
from collab_server.wire.lib0 import MalformedMessage, prefixed, varuint
from tests.corpus.document import corpus_document
from tests.corpus.encode import item, structs, text, update
from tests.corpus.hostile import Hostile, hostile_bytes, nested_types, one_embed, one_value

LETTER = item(4, text("a"))


@pytest.fixture(scope="module")
def known() -> dict[int, int]:
    """The clocks of a room that holds the corpus document."""
    doc: Doc[object] = Doc()
    doc.apply_update(corpus_document())
    return check_state_vector(doc.get_state())


@pytest.mark.parametrize("case", hostile_bytes(), ids=str)
def test_the_corpus_is_refused_for_the_written_reason(case: Hostile, known: dict[int, int]) -> None:
    try:
        match case.kind:
            case "update":
                check_update(case.body, known)
            case "state_vector":
                check_state_vector(case.body)
            case "frame":
                yjs.decode(case.body, AwarenessLimits())
        reason = "applied"
    except (UpdateRefused, MalformedMessage) as refused:
        reason = refused.reason
    except UpdateGap:
        reason = "gap"
    assert reason == case.reason


def test_a_whole_document_of_every_kind_of_content_passes(known: dict[int, int]) -> None:
    summary = check_update(corpus_document(), {})
    assert dict(summary.clocks) == known
    assert summary.reach == known
    assert not summary.is_empty


def test_no_part_of_a_document_passes() -> None:
    document = corpus_document()
    for length in range(len(document)):
        with pytest.raises(UpdateRefused):
            check_update(document[:length], {})


def test_an_update_without_news_is_known_to_be_empty() -> None:
    assert check_update(b"\x00\x00", {}).is_empty
    deletes = check_update(update(deletes=[(5, [(1, 2)])]), {5: 3})
    assert not deletes.is_empty
    assert deletes.clocks == ()
    assert deletes.reach == {5: 3}


def test_reach_is_the_highest_clock_of_structs_and_deletes() -> None:
    edit = update(structs(5, 2, [LETTER]), deletes=[(9, [(0, 1), (4, 3)]), (5, [(0, 1)])])
    summary = check_update(edit, {5: 2, 9: 20})
    assert summary.clocks == ((5, 3),)
    assert summary.reach == {5: 3, 9: 7}


def test_an_update_over_the_size_limit_is_refused() -> None:
    assert check_update(b"\x00\x00", {}, max_bytes=2).is_empty
    with pytest.raises(UpdateRefused, match="too_large"):
        check_update(b"\x00\x00", {}, max_bytes=1)


@pytest.mark.parametrize(("letters", "clocks"), [("a", 1), ("é", 1), ("漢", 1), ("😀", 2), ("a😀b", 4), ("\ufffd", 1)])
def test_text_is_as_long_as_its_utf16_code_units(letters: str, clocks: int) -> None:
    assert check_update(update(structs(5, 0, [item(4, text(letters))])), {}).clocks == ((5, clocks),)


# Gaps


def test_an_edit_that_starts_where_the_room_ends_passes_and_one_clock_later_is_a_gap() -> None:
    assert check_update(update(structs(5, 3, [LETTER])), {5: 3})
    with pytest.raises(UpdateGap) as gap:
        check_update(update(structs(5, 4, [LETTER])), {5: 3})
    assert (gap.value.client, gap.value.clock) == (5, 3)


@pytest.mark.parametrize("place", ["origin", "right_origin", "parent"])
def test_what_an_edit_refers_to_must_be_held(place: str) -> None:
    for clock, is_held in ((2, True), (3, False)):
        edit = update(structs(5, 0, [item(4, text("a"), **{place: (9, clock)})]))  # type: ignore[arg-type]
        if is_held:
            assert check_update(edit, {9: 3})
        else:
            with pytest.raises(UpdateGap) as gap:
                check_update(edit, {9: 3})
            assert (gap.value.client, gap.value.clock) == (9, 3)


def test_an_edit_may_refer_to_another_client_later_in_the_same_update() -> None:
    edit = update(structs(5, 0, [item(4, text("a"), origin=(9, 0))]), structs(9, 0, [LETTER]))
    assert check_update(edit, {}).clocks == ((5, 1), (9, 1))


def test_deletes_may_reach_what_the_same_update_brings() -> None:
    assert check_update(update(structs(5, 0, [LETTER]), deletes=[(5, [(0, 1)])]), {})
    with pytest.raises(UpdateGap):
        check_update(update(structs(5, 0, [LETTER]), deletes=[(5, [(0, 2)])]), {})


def test_a_hole_is_no_gap_where_the_room_has_what_is_missing() -> None:
    holed = update(structs(5, 0, [LETTER, b"\x0a\x02", LETTER]))
    assert check_update(holed, {5: 3}).clocks == ((5, 4),)
    with pytest.raises(UpdateGap):
        check_update(holed, {5: 2})


def test_invalid_bytes_after_a_gap_are_refused_as_invalid() -> None:
    with pytest.raises(UpdateRefused, match="trailing"):
        check_update(update(structs(5, 4, [LETTER])) + b"\x00", {})


def test_deleted_ranges_need_no_order() -> None:
    """Nor need they be apart: Yjs reads them so, and so does the CRDT."""
    assert check_update(update(deletes=[(5, [(7, 3), (0, 1), (7, 1)])]), {5: 10}).reach == {5: 10}
    with pytest.raises(UpdateGap):
        check_update(update(deletes=[(5, [(7, 3), (0, 1)])]), {5: 9})


# References within an update


def test_clients_may_lean_on_each_other_in_turns_but_not_in_a_circle() -> None:
    """A writes, B behind it, A behind that; and then the same with A first leaning on what B writes last."""

    def turns(first_leans_on: tuple[int, int] | None) -> bytes:
        first = item(4, text("a"), origin=first_leans_on)
        return update(
            structs(1, 0, [first, item(4, text("b"), origin=(2, 0))]),
            structs(2, 0, [item(4, text("c"), origin=(1, 0)), item(4, text("d"), origin=(1, 1))]),
        )

    assert check_update(turns(None), {})
    with pytest.raises(UpdateRefused, match="circular_reference"):
        check_update(turns((2, 1)), {})


def test_a_long_chain_over_many_clients_costs_no_more_than_reading_it() -> None:
    """Each client leans on the next: whoever looks for the next one by trial needs 5,000 rounds."""
    count = 5_000
    parts = [structs(client, 0, [item(4, text("a"), origin=(client + 1, 0))]) for client in range(1, count)]
    assert check_update(update(*parts, structs(count, 0, [LETTER])), {})


# Depth


def test_values_may_nest_as_deep_as_the_limit_and_no_deeper() -> None:
    deepest = b"\x75\x01" * MAX_DEPTH + b"\x7e"
    assert check_update(one_value(deepest), {})
    with pytest.raises(UpdateRefused, match="depth"):
        check_update(one_value(b"\x75\x01" + deepest), {})


def test_json_may_nest_as_deep_as_the_limit_and_no_deeper() -> None:
    deepest = b"[" * MAX_DEPTH + b"1" + b"]" * MAX_DEPTH
    assert check_update(one_embed(deepest), {})
    with pytest.raises(UpdateRefused, match="depth"):
        check_update(one_embed(b'{"a":' + deepest + b"}"), {})


def test_brackets_inside_json_text_are_not_depth() -> None:
    assert check_update(one_embed(b'{"code":"' + b"[{" * 500 + b'"}'), {})


def test_types_may_nest_as_deep_as_the_limit_and_no_deeper() -> None:
    assert check_update(nested_types(MAX_NESTING + 1), {})
    with pytest.raises(UpdateRefused, match="nesting"):
        check_update(nested_types(MAX_NESTING + 2), {})


def test_many_types_side_by_side_are_not_nested() -> None:
    paragraphs = [item(7, b"\x03\x01p", parent="xml")]
    paragraphs += [item(7, b"\x03\x01p", origin=(5, clock)) for clock in range(MAX_NESTING * 3)]
    words = [item(4, text("a"), parent=(5, clock)) for clock in range(MAX_NESTING * 3)]
    assert check_update(update(structs(9, 0, words), structs(5, 0, paragraphs)), {})


def test_what_the_room_held_before_is_the_ground_for_nesting() -> None:
    assert check_update(nested_types(3 * MAX_NESTING), {5: 2 * MAX_NESTING + 100})


# Bounds


def test_a_root_name_may_be_as_long_as_the_limit() -> None:
    longest = "é" * (MAX_ROOT_NAME_BYTES // 2)
    assert check_update(update(structs(5, 0, [item(4, text("a"), parent=longest)])), {})
    with pytest.raises(UpdateRefused, match="root_name"):
        check_update(update(structs(5, 0, [item(4, text("a"), parent=longest + "x")])), {})


def test_clocks_end_before_2_31() -> None:
    garbage = b"\x00" + varuint(10)
    assert check_update(update(structs(5, END_OF_CLOCKS - 11, [garbage])), {5: END_OF_CLOCKS - 11})
    with pytest.raises(UpdateRefused, match="clock"):
        check_update(update(structs(5, END_OF_CLOCKS - 10, [garbage])), {5: END_OF_CLOCKS - 10})


def test_a_huge_value_costs_a_client_nothing_but_its_bytes() -> None:
    blob = item(3, prefixed(b"\x00" * 1_000_000))
    assert check_update(update(structs(5, 0, [blob])), {}).clocks == ((5, 1),)


# Agreement with another implementation that writes updates


def test_what_pycrdt_writes_passes() -> None:
    doc: Doc[object] = Doc(client_id=2**53 - 1)
    updates: list[bytes] = []
    doc.observe(lambda event: updates.append(event.update))
    words = doc.get("content", type=Text)
    words.insert(0, "ascii, then zażółć 😀 gęślą")
    words.format(0, 5, {"bold": True, "link": {"href": "ü"}})
    words.insert_embed(2, {"image": "x"})
    del words[0:3]
    doc.get("map", type=Map).update({"a": 1, "b": 2.5, "c": None, "d": [1, {"e": b"\x00"}], "f": -(2**40)})
    doc.get("array", type=Array).extend([Map({"x": Array(["y"])}), True, "z"])
    known: dict[int, int] = {}
    for edit in updates:
        known |= dict(check_update(edit, known).clocks)
    assert known == check_state_vector(doc.get_state())
    assert dict(check_update(doc.get_update(), {}).clocks) == known


# State vectors


def test_a_state_vector_is_read_whole() -> None:
    assert check_state_vector(b"\x00") == {}
    assert check_state_vector(bytes.fromhex("02ac0280010503")) == {300: 128, 5: 3}
    for wrong in ("", "01", "0105", "010503ff"):
        with pytest.raises(UpdateRefused):
            check_state_vector(bytes.fromhex(wrong))
