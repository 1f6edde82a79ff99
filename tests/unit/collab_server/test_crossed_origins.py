"""An undo of Yjs may write text that stands behind one letter and before another to the left of it (yjs issue 794).

Where that ends up depends on where a copy happens to have cut the text before, in Yjs as in the CRDT here: the one case
known in which the same updates make two texts (docs/guarantees.md).
"""

from __future__ import annotations

from itertools import permutations

from pycrdt import Doc, Text

from collab_server.rooms.replica import EMPTY_STATE_VECTOR, Replica
from tests.corpus.encode import item, structs, text, update

WORD = update(structs(1, 0, [item(4, text("abcde"), parent="content")]))
CROSSED = update(structs(1, 5, [item(4, text("XY"), origin=(1, 4), right_origin=(1, 1))]))  # behind e, before b
BESIDE = update(structs(2, 0, [item(4, text("-"), origin=(1, 1), right_origin=(1, 2))]))


def read(*updates: bytes) -> str:
    doc: Doc[object] = Doc()
    for each in updates:
        doc.apply_update(each)
    return str(doc.get("content", type=Text))


def test_text_between_crossed_neighbours_is_taken_and_nothing_is_missing() -> None:
    for order in permutations((CROSSED, BESIDE)):
        replica = Replica()
        assert all(replica.apply(each) for each in (WORD, *order))
        assert replica.clocks == {1: 7, 2: 1}
        assert sorted(read(replica.diff(EMPTY_STATE_VECTOR))) == sorted("ab-cdeXY")


def test_where_it_stands_depends_on_the_copy() -> None:
    """When this fails the CRDT has learnt better: strike the exception from the guarantees."""
    assert read(WORD, CROSSED) == "aXYbcde"
    assert read(WORD, CROSSED, BESIDE) == "aXYb-cde"
    assert read(WORD, BESIDE, CROSSED) == "ab-cdeXY"
