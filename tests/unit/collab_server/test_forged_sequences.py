"""Sequences that end processes are stopped where they turn: the update is refused, or cut so that it does no harm."""

from __future__ import annotations

import pytest

from tests.corpus.forged import SEQUENCES
from tests.corpus.live_document import LiveDocument

OUTCOMES = {
    "a value of several characters is cut in two": ["applied", "key", "gap", "applied", "gap", "gap"],
    "a list is joined to a chain of values": [*["applied"] * 3, "key", *["applied"] * 3],
    "what is half known names another parent": ["applied"] * 5,
}


@pytest.mark.parametrize("name", SEQUENCES)
def test_a_sequence_of_forgeries_leaves_a_sound_document(name: str) -> None:
    live = LiveDocument()
    assert [live.offer(update) for update in SEQUENCES[name]] == OUTCOMES[name]
    live.verify()


def test_what_is_half_known_is_cut_before_it_reaches_another_parent() -> None:
    updates = SEQUENCES["what is half known names another parent"]
    live = LiveDocument(*updates[:3])
    assert live.text("t") == "abcdefgh"
