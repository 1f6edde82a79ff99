"""The cost of each step of an update, one at a time, in this process: µs a call, best of several rounds.

The best round is the one least disturbed by other work on the machine; compare figures of one run only.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from uuid import uuid4

from pycrdt import Doc, Text

from collab_server.firewall import check_update
from collab_server.limits import TokenBucket
from collab_server.rooms.replica import Replica
from collab_server.wire import yjs
from collab_server.wire.awareness import AwarenessLimits
from collab_server.wire.frame import binary_frame
from collab_server.wire.lib0 import encode_state_vector
from collab_server.wire.messages import Update
from persistence.journal import JournalEntry

ROUNDS = 7
CALLS = 2_000
LIMITS = AwarenessLimits()


def typing(count: int, client_id: int = 2**31 - 5) -> list[bytes]:
    """`count` updates of one person typing one character each, in the middle of what is there."""
    doc: Doc[Text] = Doc(client_id=client_id)
    text = doc.get("content", type=Text)
    updates = []
    for number in range(count):
        before = doc.get_state()
        text.insert(number // 2, "x")
        updates.append(doc.get_update(before))
    return updates


def best_us(calls: int, work: Callable[[], object]) -> float:
    """The least µs a call over some rounds; `work` makes `calls` of them."""
    best = float("inf")
    for _ in range(ROUNDS):
        started = time.perf_counter()
        work()
        best = min(best, time.perf_counter() - started)
    return best / calls * 1e6


def measure() -> dict[str, float]:
    """µs of each step for a one-character update."""
    updates = typing(CALLS)
    frames = [yjs.encode(Update(update)) for update in updates]
    document = uuid4()

    def check_all() -> None:
        clocks: dict[int, int] = {}
        for update in updates:
            clocks.update(check_update(update, clocks).clocks)

    def apply_all() -> None:
        replica = Replica()
        for update in updates:
            replica.apply(update)

    def trust_all() -> None:
        doc: Doc[Text] = Doc()
        for update in updates:
            doc.apply_update(update)

    bucket = TokenBucket(1e9, 1e9)
    return {
        "limits": best_us(CALLS, lambda: [bucket.take(1.0, float(now)) for now in range(CALLS)]),
        "decode the message": best_us(CALLS, lambda: [yjs.decode(frame, LIMITS) for frame in frames]),
        "firewall": best_us(CALLS, check_all),
        "firewall + apply": best_us(CALLS, apply_all),
        "apply": best_us(CALLS, trust_all),
        "encode the frame": best_us(CALLS, lambda: [binary_frame(yjs.encode_update(update)) for update in updates]),
        "journal entry": best_us(
            CALLS,
            lambda: [
                JournalEntry(document, update, "subject", (7,), encode_state_vector({7: 1})) for update in updates
            ],
        ),
    }
