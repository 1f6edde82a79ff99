"""Emoji stay whole: who cuts one is refused, everyone else is let through."""

from __future__ import annotations

import pytest
from pycrdt import Doc, Text

from collab_server.firewall import UpdateRefused, check_state_vector, check_update
from collab_server.surrogates import SurrogatePairs
from tests.corpus.encode import Id, item, structs, text, update

# client 5: a=0, b=1, 😀=2 and 3, c=4
WORDS = update(structs(5, 0, [item(4, text("ab😀c"), parent="content")]))
KNOWN = {5: 5}


def pairs_of(*updates: bytes) -> SurrogatePairs:
    pairs = SurrogatePairs()
    for learned in updates:
        pairs.learn(learned)
    return pairs


def insert(*, origin: Id | None = None, right_origin: Id | None = None) -> bytes:
    return update(structs(9, 0, [item(4, text("x"), origin=origin, right_origin=right_origin)]))


CUTS = {
    "deletes the first half": update(deletes=[(5, [(2, 1)])]),
    "deletes the second half": update(deletes=[(5, [(3, 1)])]),
    "deletes up to the middle": update(deletes=[(5, [(0, 3)])]),
    "deletes from the middle on": update(deletes=[(5, [(3, 2)])]),
    "inserts behind the first half": insert(origin=(5, 2)),
    "inserts before the second half": insert(origin=(5, 0), right_origin=(5, 3)),
    "brings and cuts its own": update(structs(9, 0, [item(4, text("😀"), parent="content")]), deletes=[(9, [(1, 1)])]),
    "writes again from the middle on": update(structs(5, 3, [item(4, text("xyz"), parent="content")])),
    "has a pair across the end of what is known": update(structs(5, 4, [item(4, text("😀"), parent="content")])),
}
WHOLE = {
    "deletes the pair": update(deletes=[(5, [(2, 2)])]),
    "deletes before it": update(deletes=[(5, [(0, 2)])]),
    "deletes behind it": update(deletes=[(5, [(4, 1)])]),
    "inserts before it": insert(origin=(5, 1), right_origin=(5, 2)),
    "inserts behind it": insert(origin=(5, 3), right_origin=(5, 4)),
    "appends another": update(structs(5, 5, [item(4, text("😀😀"), origin=(5, 4))])),
    "says it all again": WORDS,
    "is about someone else": update(deletes=[(9, [(3, 1)])]),
}


@pytest.mark.parametrize("cut", CUTS.values(), ids=CUTS)
def test_an_update_that_cuts_an_emoji_is_refused(cut: bytes) -> None:
    with pytest.raises(UpdateRefused, match="cut_character"):
        pairs_of(WORDS).check(cut, KNOWN)


@pytest.mark.parametrize("edit", WHOLE.values(), ids=WHOLE)
def test_an_update_that_leaves_emoji_whole_passes(edit: bytes) -> None:
    pairs_of(WORDS).check(edit, KNOWN)


@pytest.mark.parametrize("cut", [CUTS["deletes the second half"], CUTS["inserts behind the first half"]])
def test_where_there_is_no_emoji_nothing_is_cut(cut: bytes) -> None:
    plain = update(structs(5, 0, [item(4, text("abcde"), parent="content")]))
    pairs_of(plain).check(cut, KNOWN)


def test_integers_that_look_like_an_emoji_are_none() -> None:
    client = 0x0F_0F_0F_0F_73  # its bytes are f3 and three continuations
    edit = update(structs(client, 0, [item(4, text("ab"), parent="content")]))
    pairs = pairs_of(edit)
    pairs.check(update(deletes=[(client, [(1, 1)])]), {client: 2})


def test_emoji_in_values_are_not_text() -> None:
    value = update(structs(5, 0, [item(8, b"\x01\x77" + text("😀"), parent="map", key="k")]))
    pairs_of(value).check(update(deletes=[(5, [(0, 1)])]), {5: 1})


def test_the_danger_is_real() -> None:
    """The day this fails, the CRDT cuts emoji like Yjs does, and this module may go."""
    doc: Doc[object] = Doc()
    doc.apply_update(WORDS)
    cut = CUTS["deletes the second half"]
    check_update(cut, check_state_vector(doc.get_state()))
    doc.apply_update(cut)
    in_yjs = "ab\ufffdc"
    assert str(doc.get("content", type=Text)) != in_yjs
