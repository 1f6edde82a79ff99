"""The ledger: what a run may hold the server to."""

from __future__ import annotations

import pytest

from chaos.ledger import MOST_TOKENS, MOST_WRITERS, TOKEN, WIDTH, WIDTH_UTF8, ImpossibleReport, Ledger, Told, token

A, B, C = (token(1, number) for number in (1, 2, 3))


def test_every_token_has_the_width_that_places_are_counted_by() -> None:
    for name in (token(0, 0), token(MOST_WRITERS - 1, MOST_TOKENS - 1)):
        assert TOKEN.fullmatch(name)
        assert len(name) == len(name.encode("utf-16-le")) // 2 == WIDTH
        assert len(name.encode()) == WIDTH_UTF8


@pytest.mark.parametrize(("writer", "number"), [(MOST_WRITERS, 1), (1, MOST_TOKENS), (-1, 1)])
def test_a_token_that_would_be_wider_is_refused(writer: int, number: int) -> None:
    with pytest.raises(ValueError, match="no token"):
        token(writer, number)


def test_what_was_acknowledged_must_be_there_until_its_deletion_is_sent() -> None:
    ledger = Ledger()
    ledger.note(Told(sent=(A, B, C)))
    assert ledger.must_be_there == set()
    ledger.note(Told(acknowledged=(A, B)))
    assert ledger.must_be_there == {A, B}
    ledger.note(Told(deleted=(A,)))
    assert ledger.must_be_there == {B}
    assert ledger.must_be_gone == set()
    ledger.note(Told(deletions_acknowledged=(A,)))
    assert ledger.must_be_gone == {A}
    assert ledger.acknowledgements == 3


@pytest.mark.parametrize(
    "told",
    [
        Told(acknowledged=(B,)),
        Told(deleted=(B,)),
        Told(deletions_acknowledged=(A,)),
        Told(sent=(A,)),
    ],
)
def test_a_report_that_cannot_be_is_refused(told: Told) -> None:
    ledger = Ledger()
    ledger.note(Told(sent=(A,)))
    with pytest.raises(ImpossibleReport):
        ledger.note(told)
