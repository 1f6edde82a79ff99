"""Values of keys and lists are kept apart: what makes the CRDT use freed memory is refused, what Yjs writes is not."""

from __future__ import annotations

import pytest
from pycrdt import Array, Doc, Map, Text

from collab_server.firewall import UpdateRefused
from collab_server.update_keys import KeyedValues
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
    """Cut in two, it outlives its parent: small updates then hang the process or kill it (tests/corpus/forged.py)."""
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
