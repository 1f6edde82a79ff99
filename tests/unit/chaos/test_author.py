"""The kit's own client counts as acknowledged what the bytes say, and nothing more."""

from __future__ import annotations

import random
from itertools import count

from pycrdt import Doc, Text

from chaos import wire
from chaos.author import NOTHING_KNOWN, Author, Sent
from chaos.ledger import TOKEN, Ledger


def authors(number: int) -> tuple[list[Author], Ledger]:
    ledger = Ledger()
    return [Author(n, count(1), random.Random(n), ledger.note) for n in range(number)], ledger


def typed(author: Author, edits: int) -> list[Sent]:
    return [author.edit() for _ in range(edits)]


def test_a_text_of_several_writers_is_a_row_of_whole_tokens_deletions_or_not() -> None:
    (one, two), ledger = authors(2)
    for _ in range(300):
        made = one.edit(), two.edit()
        two.take(made[0].update)
        one.take(made[1].update)
    text = one.replica("one").text
    assert text == two.replica("two").text
    assert TOKEN.sub("", text) == ""
    assert ledger.deleted
    assert set(TOKEN.findall(text)) == ledger.sent - ledger.deleted


def test_an_edit_is_acknowledged_once_its_message_is() -> None:
    (author,), ledger = authors(1)
    first, second = typed(author, 2)
    author.confirmed(second)
    assert ledger.acknowledged == second.tokens
    author.confirmed(first)
    author.confirmed(first)
    assert ledger.acknowledged == ledger.sent


def test_an_answer_carries_what_the_other_side_lacks_and_every_deletion() -> None:
    (author,), ledger = authors(1)
    typed(author, 100)
    known: Doc[Text] = Doc()
    known.apply_update(author.answer(NOTHING_KNOWN).update)
    held_before = set(ledger.sent)
    typed(author, 20)
    answer = author.answer(known.get_state())
    assert answer.step == wire.SYNC_STEP_2
    assert answer.deletions == ledger.deleted
    assert answer.tokens <= ledger.sent - held_before
    author.confirmed(answer)
    assert ledger.acknowledged.isdisjoint(held_before)
    assert ledger.deletions_acknowledged == ledger.deleted


def test_the_same_seed_types_the_same() -> None:
    texts = []
    for _ in range(2):
        author = Author(3, count(1), random.Random(5), lambda _told: None)
        typed(author, 50)
        texts.append(author.replica("it").text)
    assert texts[0] == texts[1]


def test_the_state_of_a_copy_is_read_from_its_bytes() -> None:
    (one, two), _ledger = authors(2)
    one.take(two.edit().update)
    one.edit()
    assert sorted(one.replica("one").state.values()) == [12, 12]
