"""No false refusal: what real editors send passes as in a room, and the room's copy reads as theirs do.

CodeMirror, ProseMirror, Quill and Tiptap on their own bindings, in sessions of several people who type, compose, paste,
format, undo and go offline. For a long run: COLLAB_TEST_EDITOR_UPDATES=13000 (of each).
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from collab_server.firewall import UpdateRefused, check_state_vector
from collab_server.rooms.replica import EMPTY_STATE_VECTOR, Replica
from tests.corpus.real_updates import EDITORS, Session, generate_with_editors, parse, read_content

UPDATES = int(os.environ.get("COLLAB_TEST_EDITOR_UPDATES", "60"))
SEED = int(os.environ.get("COLLAB_TEST_SEED", "1"))

pytestmark = [pytest.mark.xdist_group("real_updates"), pytest.mark.timeout(120 + UPDATES)]


@pytest.fixture(scope="module")
def sessions(node_packages: Path) -> list[Session]:
    assert (node_packages / "@tiptap" / "core").exists()
    return parse(generate_with_editors(SEED, UPDATES)).sessions


def play(session: Session) -> tuple[Replica, str]:
    """What a room holds after the session, or holds when it refuses an update for a reason."""
    replica = Replica()
    for update in session.updates:
        try:
            replica.apply(update)
        except UpdateRefused as refused:
            return replica, refused.reason
    return replica, ""


def test_every_update_of_a_real_editor_is_taken_and_read_alike(sessions: list[Session]) -> None:
    """But for Quill, which itself cuts an emoji now and then, of which Yjs makes U+FFFD (see surrogates.py).

    And for what Yjs itself reads in two ways (see test_crossed_origins.py).
    """
    assert sum(len(session.updates) for session in sessions) >= len(EDITORS) * UPDATES
    whole, states, refused = [], [], []
    for session in sessions:
        replica, reason = play(session)
        if reason:
            refused.append((session.name, reason))
            continue
        assert replica.clocks == check_state_vector(session.state_vector), session.name
        if session.content is not None:
            whole.append((session.name, session.content))
            states.append(replica.diff(EMPTY_STATE_VECTOR))
    assert all(name.startswith("quill") and reason == "cut_character" for name, reason in refused), refused
    assert len(whole) >= len(EDITORS) - 1
    assert [(name, content) for (name, _), content in zip(whole, read_content(states), strict=True)] == whole
