"""Values of keys and lists are kept apart: what makes the CRDT use freed memory is refused, what Yjs writes is not."""

from __future__ import annotations

import pytest
from pycrdt import Array, Doc, Map, Text

from collab_server.firewall import UpdateRefused
from collab_server.update_keys import KeyedValues, may_hold_a_key
from tests.corpus.encode import item, structs, text, update
from tests.corpus.live_document import LiveDocument

VALUE = b"\x01\x7e"
MAP = update(structs(5, 0, [item(7, b"\x01", parent="map", key="m")]))
FIRST = update(structs(6, 0, [item(8, VALUE, parent=(5, 0), key="k")]))
IN_LIST = update(structs(9, 0, [item(4, text("abc"), parent=(5, 0))]))


def document() -> LiveDocument:
    """A map with a value, which somebody also uses as a list."""
    return LiveDocument(MAP, FIRST, IN_LIST)


def test_a_value_of_several_characters_is_refused() -> None:
    """Cut in two, it outlives its parent: a few updates then hang the process or kill it (tests/corpus/forged.py)."""
    assert document().offer(update(structs(7, 0, [item(4, text("abcd"), parent=(5, 0), key="x")]))) == "key"
    assert document().offer(update(structs(7, 0, [item(4, text("abcd"), origin=(6, 0))]))) == "key"
    assert document().offer(update(structs(7, 0, [item(8, b"\x02\x7e\x7e", origin=(6, 0))]))) == "key"


@pytest.mark.parametrize(("kind", "body"), [(4, text("a")), (5, b"\x011"), (6, text("b") + b"\x011")])
def test_text_embeds_and_formats_are_no_values(kind: int, body: bytes) -> None:
    assert document().offer(update(structs(7, 0, [item(kind, body, origin=(6, 0))]))) == "key"


@pytest.mark.parametrize("origin", [None, (9, 2), (6, 0)])
def test_nothing_is_written_before_a_value(origin: tuple[int, int] | None) -> None:
    assert document().offer(update(structs(7, 0, [item(8, VALUE, origin=origin, right_origin=(6, 0))]))) == "key"


def test_nothing_but_a_value_stands_behind_a_value() -> None:
    assert document().offer(update(structs(7, 0, [item(8, VALUE, origin=(6, 0), right_origin=(9, 0))]))) == "key"
    assert document().offer(update(structs(7, 0, [item(8, VALUE, origin=(6, 0))]))) == "applied"


def test_a_chain_within_one_update_is_seen_in_any_order() -> None:
    chain = update(
        structs(9, 0, [item(4, text("ab"), origin=(8, 0))]),  # behind what comes after it
        structs(8, 0, [item(8, VALUE, origin=(7, 0))]),
        structs(7, 0, [item(8, VALUE, parent="map", key="k")]),
    )
    assert LiveDocument().offer(chain) == "key"


def test_values_that_one_copy_merged_pass_if_all_of_them_are_deleted() -> None:
    """A Yjs document that keeps what is deleted (`gc: false`) sends a key it set three times so."""
    merged = structs(7, 0, [item(8, b"\x02\x7e\x7e", parent="map", key="k"), item(8, VALUE, origin=(7, 1))])
    assert LiveDocument().offer(update(merged, deletes=[(7, [(0, 1), (1, 1)])])) == "applied"
    assert LiveDocument().offer(update(merged, deletes=[(7, [(0, 1)])])) == "key"
    assert LiveDocument().offer(update(structs(7, 0, [item(1, b"\x02", parent="map", key="k")]))) == "applied"


def test_plain_typing_beside_keys_passes() -> None:
    live = document()
    assert live.offer(update(structs(7, 0, [item(4, text("x"), origin=(9, 1), right_origin=(9, 2))]))) == "applied"
    assert live.offer(update(structs(7, 1, [item(4, text("y"), origin=(7, 0), right_origin=(9, 2))]))) == "applied"


def test_what_is_loaded_is_known_like_what_was_checked() -> None:
    doc: Doc[object] = Doc(client_id=3)
    doc.get("text", type=Text).insert(0, "words")
    keys = doc.get("map", type=Map)
    for value in range(3):
        keys["k"] = value
        doc.get("list", type=Array).append(value)
    checked, learnt = KeyedValues(), KeyedValues()
    state = doc.get_update()
    checked.add(checked.check(state, {}))
    learnt.learn(state)
    places = [(3, clock) for clock in range(12)]
    assert [place in checked for place in places] == [place in learnt for place in places]
    assert sum(place in learnt for place in places) == 3


def test_a_long_run_of_deleted_values_is_not_counted_one_by_one() -> None:
    long = update(
        structs(7, 0, [item(1, b"\xff\xff\xff\xff\x03", parent="map", key="k")]),
        structs(3, 0, [item(4, text("a"), origin=(7, 5))]),
    )
    with pytest.raises(UpdateRefused):
        KeyedValues().check(long, {})


def test_text_that_only_begins_like_a_key_is_not_read_for_one() -> None:
    """Struct heads of real documents have such bytes by the dozen: reading 60,000 edits for that took 40 ms."""
    references = update(structs(5, 0, [item(4, text("a&"), origin=(0x01_C4_8E, 0))]))
    assert not may_hold_a_key(b"\x0e\x26\x01\xc4\x8e\xce\xcc\xa8\x0e\x97\x33\xd0\xff\xf1\xe2\x0e")  # from one of them
    assert not may_hold_a_key(b"\x21\x01\xff\xff\x03" * 100)  # a root's name of 65,535 bytes
    assert not may_hold_a_key(b"\x21\x00")
    assert not may_hold_a_key(references)


@pytest.mark.parametrize("root", ["m", "", "é\x00\x01", "x" * 1_000])
@pytest.mark.parametrize("key", ["k", "", "\x00", "ü" * 5_000])
def test_every_first_value_of_a_key_is_seen(root: str, key: str) -> None:
    for parent in (root, (5, 2**31), (2**53 - 1, 0)):
        for before in (b"", b"\x21\x01", b"&\x01\x05"):  # the bytes before it may begin like one too
            first = update(structs(6, 0, [item(8, VALUE, parent=parent, key=key)]))
            assert may_hold_a_key(before + first)
