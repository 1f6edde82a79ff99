"""A struct that is half known is cut where its rest gets a neighbour, so that it cannot name another parent."""

from __future__ import annotations

import pytest
from pycrdt import Doc, Text

from collab_server.firewall import check_update
from collab_server.update_trim import without_known
from tests.corpus.encode import item, structs, text, update

REST = {
    "text": (item(4, text("ab😀cd"), parent="t"), item(4, text("😀cd"), origin=(5, 1))),
    "values": (item(8, b"\x03\x7e\x77\x01a\x7f", parent="t"), item(8, b"\x01\x7f", origin=(5, 1))),
    "deleted": (item(1, b"\x05", parent=(9, 0), key="k"), item(1, b"\x03", origin=(5, 1))),
    "garbage": (b"\x00\x05", b"\x00\x03"),
}


@pytest.mark.parametrize("name", REST)
def test_the_rest_stands_behind_what_is_known(name: str) -> None:
    whole, rest = REST[name]
    last = item(4, text("z"), parent="other")
    deletes = [(5, [(0, 1)])]
    cut = without_known(update(structs(5, 0, [whole, last]), deletes=deletes), {5: 2})
    assert cut == update(structs(5, 2, [rest, last]), deletes=deletes)


def test_what_is_wholly_known_is_left_out() -> None:
    letter = item(4, text("a"), parent="t")
    assert without_known(update(structs(5, 0, [letter, letter]), structs(6, 0, [letter])), {5: 1, 6: 1}) == update(
        structs(5, 1, [letter])
    )


def test_the_firewall_cuts_only_what_is_half_known_and_names_its_parent() -> None:
    whole = update(structs(5, 0, [item(4, text("abc"), parent="t")]))
    assert [check_update(whole, known).instead is None for known in ({}, {5: 2}, {5: 3})] == [True, False, True]
    behind = update(structs(5, 1, [item(4, text("bc"), origin=(5, 0))]))
    assert check_update(behind, {5: 2}).instead is None


def test_a_document_reads_the_same_either_way() -> None:
    typist: Doc[object] = Doc(client_id=5)
    words = typist.get("t", type=Text)
    words += "ab"
    known = typist.get_update()
    words += "cd"
    cut = check_update(typist.get_update(), {5: 2}).instead
    assert cut is not None
    reader: Doc[object] = Doc()
    reader.apply_update(known)
    reader.apply_update(cut)
    assert str(reader.get("t", type=Text)) == "abcd"
    assert reader.get_state() == typist.get_state()
