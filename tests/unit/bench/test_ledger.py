"""Who saw what when, for servers that relay, merge or skip."""

import pytest
from pycrdt import Doc, merge_updates

from bench.peers.edits import CURSOR, DELETED, TYPED, Edit, moving, recorded, typed_line
from bench.peers.ledger import Ledger, percentile

ROOMS = ("room", "room", "room", "other")


def typed(member: int, client: int, count: int) -> list[Edit]:
    return [
        Edit(number * 0.1, member, update, client, number, TYPED)
        for number, update in enumerate(typed_line(client, count))
    ]


def sent(edits: list[Edit], probes: tuple[int, ...] = (1,)) -> Ledger:
    ledger = Ledger(edits, ROOMS, probes)
    for number, edit in enumerate(edits):
        ledger.sent(number, 100.0 + edit.due_s)
    return ledger


def seconds(ledger: Ledger) -> list[float]:
    return [round(delay.seconds, 6) for delay in ledger.delays(100.0, 200.0, 300.0) if delay.seen]


def test_an_update_that_comes_as_it_was_sent_is_seen() -> None:
    edits = typed(0, 7, 3)
    ledger = sent(edits)
    for edit in edits:
        ledger.heard_update(1, edit.body, 100.0 + edit.due_s + 0.02)
    assert seconds(ledger) == [0.02, 0.02, 0.02]
    assert ledger.is_settled()


def test_updates_merged_in_one_are_all_seen() -> None:
    edits = typed(0, 7, 3) + typed(2, 9, 3)
    ledger = sent(edits)
    ledger.heard_update(1, merge_updates(*(edit.body for edit in edits)), 101.0)
    assert ledger.is_settled()


def test_a_delete_is_seen_in_whatever_carries_it() -> None:
    doc, text, updates = recorded(7)
    text.insert(0, "abc")
    del text[1]
    delete = Edit(0.0, 0, updates[1], 7, 1, DELETED)
    ledger = sent([delete])
    whole: Doc[object] = Doc()
    whole.apply_update(doc.get_update())
    ledger.heard_update(1, whole.get_update(), 100.5)
    assert seconds(ledger) == [0.5]


def test_a_later_cursor_stands_for_those_that_were_skipped() -> None:
    edits = moving(0, 7, 10, 0.5)
    ledger = sent(edits)
    ledger.heard_awareness(1, edits[0].body, 100.0)
    ledger.heard_awareness(1, edits[4].body, 101.0)
    assert {edit.kind for edit in edits} == {CURSOR}
    assert ledger.is_settled()
    assert seconds(ledger) == [0.0, 0.9, 0.8, 0.7, 0.6]


def test_what_comes_twice_counts_from_the_first_time() -> None:
    edits = typed(0, 7, 1)
    ledger = sent(edits)
    ledger.heard_update(1, edits[0].body, 100.1)
    ledger.heard_update(1, edits[0].body, 105.0)
    assert seconds(ledger) == [0.1]


def test_neither_the_sender_nor_another_room_is_asked() -> None:
    ledger = sent(typed(0, 7, 2), probes=(0, 3))
    assert ledger.expected() == []


def test_what_is_not_seen_has_waited_until_now() -> None:
    ledger = sent(typed(0, 7, 1))
    (delay,) = ledger.delays(100.0, 200.0, 104.0)
    assert delay.seen is False
    assert delay.seconds == pytest.approx(4.0)


def test_the_share_seen_is_of_what_arrived_in_the_time_not_later() -> None:
    edits = typed(0, 7, 4)
    ledger = sent(edits)
    for edit in edits[:2]:
        ledger.heard_update(1, edit.body, 100.5)
    for edit in edits[2:]:
        ledger.heard_update(1, edit.body, 150.0)
    assert ledger.seen_share(100.0, 101.0) == 0.5


def test_percentiles_of_few_values_are_values() -> None:
    assert percentile([1.0, 2.0, 3.0], 0.99) == 3.0
    assert percentile([1.0, 2.0, 3.0], 0.5) == 2.0
    assert percentile([], 0.5) == 0.0
