"""No false refusal: thousands of updates of real Yjs clients, which all pass and do what the firewall says they do."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from collab_server.firewall import UpdateRefused, check_state_vector, check_update
from tests.corpus.live_document import LiveDocument
from tests.corpus.real_updates import RealUpdates, Session, generate, parse

UPDATES = int(os.environ.get("COLLAB_TEST_REAL_UPDATES", "20000"))
SEED = int(os.environ.get("COLLAB_TEST_SEED", "1"))

pytestmark = pytest.mark.xdist_group("real_updates")


@pytest.fixture(scope="module")
def real(node_packages: Path) -> RealUpdates:
    """What Yjs 13.6 clients send, in many sessions."""
    assert (node_packages / "yjs").exists()
    return parse(generate(SEED, UPDATES))


def test_every_update_of_a_real_client_passes(real: RealUpdates) -> None:
    passed = 0
    for session in real.sessions:
        known: dict[int, int] = {}
        for update in session.updates:
            for client, end in check_update(update, known).clocks:
                known[client] = max(end, known.get(client, 0))
            passed += 1
        assert known == check_state_vector(session.state_vector)
    assert passed >= UPDATES


def test_the_copy_behind_the_firewall_is_whole(real: RealUpdates) -> None:
    """Nothing is set aside, and the state can be encoded and loaded again."""
    for session in real.sessions:
        if not session.cuts_pairs:
            document = LiveDocument(*session.updates)
            document.verify()
            assert document.known == check_state_vector(session.state_vector)


def test_sessions_that_cut_emoji_lose_those_edits_and_nothing_else(real: RealUpdates) -> None:
    outcomes = {outcome for session in real.sessions if session.cuts_pairs for outcome in _play(session)}
    assert outcomes == {"applied", "cut_character", "gap"}


def _play(session: Session) -> set[str]:
    document = LiveDocument()
    outcomes = {document.offer(update) for update in session.updates}
    document.verify()
    return outcomes


def test_features_this_server_does_not_take_are_refused_by_name(real: RealUpdates) -> None:
    assert {reason for reason, _update in real.refused} == {"subdocument", "xml_hook", "json"}
    for reason, update in real.refused:
        with pytest.raises(UpdateRefused) as refused:
            check_update(update, {})
        assert refused.value.reason == reason
