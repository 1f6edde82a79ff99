"""Whether a load run was good enough, and in which words it was not.

Pure: numbers in, sentences out. Called by run.py with what locustfile.py measured.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

EDIT_TO_PEER = "edit to peer"
KEYSTROKE = "keystroke"
CONVERGED = "room converged"


@dataclass(frozen=True, slots=True)
class Thresholds:
    """`error_ratio` is failures per request, 0 to 1; `min_keystrokes_per_s` counts all users together."""

    edit_to_peer_p95_ms: float
    error_ratio: float
    min_keystrokes_per_s: float


@dataclass(frozen=True, slots=True)
class Measured:
    """One kind of request over the whole run. `p95_ms` is None where none succeeded."""

    requests: int
    failures: int
    p50_ms: float | None
    p95_ms: float | None
    per_s: float


@dataclass(frozen=True, slots=True)
class Outcome:
    """Everything a run measured: by the name of the request, and the errors by their text with their counts."""

    measured: Mapping[str, Measured]
    errors: Mapping[str, int]

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "Outcome":
        """The inverse of `dataclasses.asdict`."""
        return cls({name: Measured(**row) for name, row in value["measured"].items()}, dict(value["errors"]))


def shortfalls(outcome: Outcome, limits: Thresholds) -> list[str]:
    """One sentence for each threshold that was missed; empty when the run was good."""
    found = [_slow(outcome, limits), _failing(outcome, limits), _idle(outcome, limits), _diverged(outcome)]
    return [sentence for sentence in found if sentence is not None]


def _slow(outcome: Outcome, limits: Thresholds) -> str | None:
    seen = outcome.measured.get(EDIT_TO_PEER)
    if seen is None or seen.p95_ms is None or seen.requests == seen.failures:
        return "No edit was seen by a peer."
    if seen.p95_ms > limits.edit_to_peer_p95_ms:
        return (
            f"95 % of edits reached a peer within {seen.p95_ms:g} ms; the limit is {limits.edit_to_peer_p95_ms:g} ms."
        )
    return None


def _failing(outcome: Outcome, limits: Thresholds) -> str | None:
    requests = sum(row.requests for row in outcome.measured.values())
    failures = sum(row.failures for row in outcome.measured.values())
    if failures <= limits.error_ratio * requests:
        return None
    text, count = max(outcome.errors.items(), key=lambda item: item[1], default=("unknown", failures))
    return (
        f"{failures} of {requests} requests failed ({failures / max(requests, 1):.2%}); the limit is "
        f"{limits.error_ratio:.2%}. Most often ({count}): {text}"
    )


def _idle(outcome: Outcome, limits: Thresholds) -> str | None:
    typed = outcome.measured.get(KEYSTROKE)
    rate = 0.0 if typed is None else typed.per_s
    if rate >= limits.min_keystrokes_per_s:
        return None
    return f"{rate:.1f} keystrokes/s were sent; at least {limits.min_keystrokes_per_s:g} were wanted."


def _diverged(outcome: Outcome) -> str | None:
    rooms = outcome.measured.get(CONVERGED)
    if rooms is None or rooms.requests == 0:
        return "No room was compared at the end of the run."
    if rooms.failures:
        return f"{rooms.failures} of {rooms.requests} rooms ended with members holding different text."
    return None
