"""What counts as a good load run."""

import json
from dataclasses import asdict, replace

import pytest

from loadtests.thresholds import CONVERGED, EDIT_TO_PEER, KEYSTROKE, Measured, Outcome, Thresholds, shortfalls

LIMITS = Thresholds(edit_to_peer_p95_ms=100, error_ratio=0.01, min_keystrokes_per_s=10)


def row(requests: int = 100, failures: int = 0, p95_ms: float | None = 5.0, per_s: float = 20.0) -> Measured:
    return Measured(requests, failures, p95_ms, p95_ms, per_s)


GOOD = Outcome({EDIT_TO_PEER: row(), KEYSTROKE: row(), CONVERGED: row(2, p95_ms=None)}, {})


def with_row(name: str, changed: Measured | None, errors: dict[str, int] | None = None) -> Outcome:
    rows = {key: value for key, value in {**GOOD.measured, name: changed}.items() if value is not None}
    return Outcome(rows, errors or {})


def test_a_run_within_all_limits_is_good() -> None:
    assert shortfalls(GOOD, LIMITS) == []


def test_a_run_exactly_at_its_limits_is_good() -> None:
    edge = Outcome(
        {EDIT_TO_PEER: row(98, p95_ms=100), KEYSTROKE: row(100, 2, per_s=10), CONVERGED: row(2, p95_ms=None)}, {}
    )
    assert shortfalls(edge, LIMITS) == []


@pytest.mark.parametrize(
    ("outcome", "sentence"),
    [
        (
            with_row(EDIT_TO_PEER, row(p95_ms=101.0)),
            "95 % of edits reached a peer within 101 ms; the limit is 100 ms.",
        ),
        (with_row(EDIT_TO_PEER, None), "No edit was seen by a peer."),
        (with_row(EDIT_TO_PEER, row(0, p95_ms=None)), "No edit was seen by a peer."),
        (
            with_row(KEYSTROKE, row(failures=5), {"keystroke: rare": 1, "keystroke: reset": 4}),
            "5 of 202 requests failed (2.48%); the limit is 1.00%. Most often (4): keystroke: reset",
        ),
        (with_row(KEYSTROKE, row(per_s=9.94)), "9.9 keystrokes/s were sent; at least 10 were wanted."),
        (with_row(KEYSTROKE, None), "0.0 keystrokes/s were sent; at least 10 were wanted."),
        (with_row(CONVERGED, None), "No room was compared at the end of the run."),
    ],
)
def test_each_missed_limit_is_one_sentence(outcome: Outcome, sentence: str) -> None:
    assert shortfalls(outcome, LIMITS) == [sentence]


def test_a_room_that_did_not_converge_fails_the_run_whatever_the_error_limit() -> None:
    diverged = with_row(CONVERGED, row(2, 1, p95_ms=None))
    assert shortfalls(diverged, replace(LIMITS, error_ratio=1)) == [
        "1 of 2 rooms ended with members holding different text."
    ]


def test_no_error_at_all_is_allowed_where_the_limit_is_zero() -> None:
    one = with_row(KEYSTROKE, row(100_000, 1), {"keystroke: reset": 1})
    assert len(shortfalls(one, replace(LIMITS, error_ratio=0))) == 1


def test_an_empty_run_is_a_failed_run() -> None:
    assert len(shortfalls(Outcome({}, {}), LIMITS)) == 3


def test_an_outcome_survives_json() -> None:
    outcome = with_row(KEYSTROKE, row(failures=1), {"keystroke: reset": 1})
    assert Outcome.from_json(json.loads(json.dumps(asdict(outcome)))) == outcome
