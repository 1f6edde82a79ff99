"""Documents are rebuilt whole from rows in any order, also from rows the CRDT takes only one by one."""

from __future__ import annotations

from itertools import permutations

import pytest
from pycrdt import Array, Doc, Text

from persistence.replay import ReplayFailed, replay

# All of client 1. C begins an array (clock 0), A sets a map entry (clock 1), B appends to the array (clock 2).
A = bytes.fromhex("010101012801036d6170017a017c4214000000")
B = bytes.fromhex("01010102880100017c4240000000")
C = bytes.fromhex("010101000801056172726179017c429c000000")

# Text of client 5, its deletion, and an item whose parent is what was deleted: each applies to a live document.
ONE_BY_ONE = [
    bytes.fromhex("01010500040107636f6e74656e740361626300"),
    bytes.fromhex("000105010101"),
    bytes.fromhex("0101090004000501017800"),
]


@pytest.mark.parametrize("order", list(permutations("ABC")), ids="".join)
def test_every_order_gives_the_same_document(order: tuple[str, ...]) -> None:
    rebuilt = replay(None, [{"A": A, "B": B, "C": C}[name] for name in order])
    whole: Doc[Array[float]] = Doc()
    whole.apply_update(rebuilt.get_update())
    assert whole.get("array", type=Array).to_py() == [78.0, 48.0]


def test_rows_the_crdt_refuses_in_one_transaction_are_taken_one_by_one() -> None:
    live: Doc[Text] = Doc()
    for update in ONE_BY_ONE:
        live.apply_update(update)
    assert str(replay(None, ONE_BY_ONE).get("content", type=Text)) == str(live.get("content", type=Text))


def test_a_row_that_can_never_be_applied_is_named() -> None:
    with pytest.raises(ReplayFailed) as failed:
        replay(None, [C, b"\xff"])
    assert failed.value.index == 1
