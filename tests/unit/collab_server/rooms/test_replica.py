"""The room's copy: grows by updates, knows news from old, and is lost for good after a failure."""

from __future__ import annotations

from typing import Any

import pytest
from pycrdt import Doc, Text

from collab_server.firewall import UpdateGap, UpdateRefused
from collab_server.rooms.replica import BIG_DOCUMENT_BYTES, Replica, ReplicaBroken
from collab_server.update_split import Piece


def typed(*strokes: str, client_id: int = 7) -> list[bytes]:
    """One update a stroke, by one client."""
    doc: Doc[Text] = Doc(client_id=client_id)
    text = doc.get("content", type=Text)
    updates = []
    for stroke in strokes:
        before = doc.get_state()
        text += stroke
        updates.append(doc.get_update(before))
    return updates


def text_of(replica: Replica) -> str:
    doc: Doc[Text] = Doc()
    doc.apply_update(replica.diff(b"\x00"))
    return str(doc.get("content", type=Text))


def test_an_update_is_applied_and_moves_the_clocks() -> None:
    replica = Replica()
    summary = replica.apply(typed("hello")[0])
    assert summary is not None
    assert replica.clocks == {7: 5}
    assert text_of(replica) == "hello"


def test_what_is_known_already_brings_nothing() -> None:
    replica = Replica()
    (update,) = typed("hello")
    replica.apply(update)
    assert replica.apply(update) is None
    assert replica.apply(b"\x00\x00") is None


def test_deletes_alone_are_news_once() -> None:
    doc: Doc[Text] = Doc(client_id=7)
    text = doc.get("content", type=Text)
    text += "hello"
    replica = Replica()
    replica.apply(doc.get_update())
    before = doc.get_state()
    del text[0:2]
    deletes = doc.get_update(before)
    assert replica.apply(deletes) is not None
    assert replica.apply(deletes) is None
    assert text_of(replica) == "llo"


def test_an_update_with_a_gap_changes_nothing() -> None:
    first, second = typed("a", "b")
    replica = Replica()
    with pytest.raises(UpdateGap):
        replica.apply(second)
    replica.apply(first)
    replica.apply(second)
    assert text_of(replica) == "ab"


def test_the_state_is_encoded_once_for_many_joiners_and_again_after_an_edit() -> None:
    first, second = typed("a", "b")
    replica = Replica()
    replica.apply(first)
    assert replica.diff(b"\x00") is replica.diff(b"\x00")
    replica.apply(second)
    assert text_of(replica) == "ab"


def test_a_hostile_state_vector_is_refused_before_the_crdt_sees_it() -> None:
    with pytest.raises(UpdateRefused):
        Replica().diff(bytes.fromhex("8080808002"))


def test_a_copy_is_rebuilt_from_a_checkpoint_and_later_updates() -> None:
    first, second, third = typed("a", "b", "c")
    whole = Replica.load(None, [first, second])
    again = Replica.load(whole.diff(b"\x00"), [second, third])
    assert text_of(again) == "abc"
    assert again.clocks == {7: 3}


def test_loading_rows_in_any_order_gives_the_same_document() -> None:
    updates = typed("a", "b", "c", "d")
    assert text_of(Replica.load(None, reversed(updates))) == "abcd"


def test_a_failure_of_the_crdt_makes_every_later_use_fail() -> None:
    replica = Replica()
    # Structurally valid, refers to a parent that is no type: the CRDT refuses it half-way (InvalidParent) or panics.
    with pytest.raises(ReplicaBroken):
        Replica.load(bytes.fromhex("0100010000"), [bytes.fromhex("ff")])
    replica.forget()
    with pytest.raises(ReplicaBroken):
        replica.apply(typed("a")[0])
    with pytest.raises(ReplicaBroken):
        replica.diff(b"\x00")


def test_the_state_is_encoded_again_after_a_delete() -> None:
    doc: Doc[Text] = Doc(client_id=7)
    text = doc.get("content", type=Text)
    text += "hello"
    replica = Replica()
    replica.apply(doc.get_update())
    assert text_of(replica) == "hello"
    before = doc.get_state()
    del text[0:2]
    replica.apply(doc.get_update(before))
    assert text_of(replica) == "llo"


def test_a_joiner_of_a_big_document_gets_what_had_waited_in_the_journal_and_does_no_longer() -> None:
    first: Doc[Any] = Doc(client_id=1)
    first.get("content", type=Text).insert(0, "base ")
    base = first.get_update()
    second: Doc[Any] = Doc(client_id=2)
    second.apply_update(base)
    before = second.get_state()
    second.get("content", type=Text).insert(5, "waited ")
    waited = second.get_update(before)
    big: Doc[Any] = Doc(client_id=3)
    big.get("other", type=Text).insert(0, "x" * BIG_DOCUMENT_BYTES)

    replica = Replica()
    replica.cut_up()
    replica.load_piece(Piece(big.get_update(), ((3, BIG_DOCUMENT_BYTES),), ((3, BIG_DOCUMENT_BYTES),)))
    replica.load_waiting(waited)
    replica.apply(base)
    joiner: Doc[Any] = Doc()
    for update in replica.diffs(b"\x00"):
        joiner.apply_update(update)
    assert str(joiner.get("content", type=Text)) == "base waited "
    assert replica.clocks == {1: 5, 2: 7, 3: BIG_DOCUMENT_BYTES}
