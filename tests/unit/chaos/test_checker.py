"""The checker finds what is wrong: without that its silence would prove nothing."""

from __future__ import annotations

import pytest

from chaos.checker import Replica, Verdict, agree, differences, judge
from chaos.ledger import Ledger, Told, token

A, B, C, D = (token(1, number) for number in (1, 2, 3, 4))
STATE = {1: 48}


def kept(*, sent: tuple[str, ...] = (A, B, C), acknowledged: tuple[str, ...] = (A, B)) -> Ledger:
    ledger = Ledger()
    ledger.note(Told(sent=sent, acknowledged=acknowledged))
    return ledger


def verdict(text: str, ledger: Ledger | None = None) -> Verdict:
    return judge(ledger or kept(), [Replica("a new client", text, STATE)])


@pytest.mark.parametrize("text", [A + B, B + A, A + C + B])
def test_everything_acknowledged_once_is_clean_in_any_order_and_with_or_without_what_was_not(text: str) -> None:
    assert verdict(text).is_clean


def test_a_lost_token_is_found() -> None:
    assert verdict(A + C) == Verdict(lost=frozenset({B}))


def test_an_empty_document_has_lost_everything() -> None:
    assert verdict("") == Verdict(lost=frozenset({A, B}))


def test_a_duplicated_token_is_found_whether_it_was_acknowledged_or_not() -> None:
    assert verdict(A + B + A).duplicated == {A}
    assert verdict(A + B + C + C).duplicated == {C}


@pytest.mark.parametrize("half", [C[:5], C[5:], C[:5] + C[6:]])
def test_half_a_token_is_found(half: str) -> None:
    assert verdict(A + half + B).half_applied == {half}


def test_a_token_that_was_cut_in_two_is_lost_and_half_applied() -> None:
    found = verdict(A + B[:4] + C + B[4:])
    assert found.lost == {B}
    assert found.half_applied == {B[:4], B[4:]}


def test_a_token_nobody_sent_is_found() -> None:
    assert verdict(A + B + D).unknown == {D}


def test_a_deletion_that_was_acknowledged_must_hold_and_one_that_was_not_may() -> None:
    ledger = kept()
    ledger.note(Told(deleted=(A,)))
    assert verdict(A + B, ledger).is_clean
    assert verdict(B, ledger).is_clean
    ledger.note(Told(deletions_acknowledged=(A,)))
    assert verdict(B, ledger).is_clean
    assert verdict(A + B, ledger) == Verdict(came_back=frozenset({A}))


def test_copies_with_other_texts_have_diverged_and_the_odd_one_is_named() -> None:
    copies = [Replica("one", A + B, STATE), Replica("two", A + B, STATE), Replica("three", B + A, STATE)]
    assert not agree(copies)
    assert judge(kept(), copies) == Verdict(diverged=frozenset({"three"}))


def test_copies_with_the_same_text_and_other_state_vectors_have_diverged() -> None:
    copies = [Replica("one", A + B, STATE), Replica("two", A + B, STATE), Replica("three", A + B, {1: 47})]
    assert judge(kept(), copies) == Verdict(diverged=frozenset({"three"}))


def test_what_is_wrong_in_one_copy_is_wrong() -> None:
    copies = [Replica("one", A + B, STATE), Replica("two", A + B + C + C, STATE)]
    assert judge(kept(), copies).duplicated == {C}


def test_lost_is_what_no_copy_has_and_what_one_has_shows_as_copies_that_differ() -> None:
    copies = [Replica("one", A + C, STATE), Replica("two", A + B, STATE), Replica("three", A + C, STATE)]
    assert judge(kept(), copies) == Verdict(diverged=frozenset({"two"}))
    assert judge(kept(), [copies[0], copies[2]]) == Verdict(lost=frozenset({B}))


def test_no_copy_is_no_proof() -> None:
    with pytest.raises(ValueError, match="no copy"):
        judge(kept(), [])


def test_verdicts_add_up() -> None:
    assert (Verdict(lost=frozenset({A})) | Verdict(lost=frozenset({B}), duplicated=frozenset({C}))) == Verdict(
        lost=frozenset({A, B}), duplicated=frozenset({C})
    )


def test_a_difference_is_told_in_words() -> None:
    copies = [Replica("one", A + B, STATE), Replica("two", A + B, STATE), Replica("three", A + C, {1: 40, 2: 9})]
    assert differences(copies) == [
        f"three lacks 1 tokens ({B}) and has besides 1 tokens ({C}); "
        "it is ahead of the others for 1 clients' operations, behind for 1"
    ]
    assert differences(copies[:2]) == []
