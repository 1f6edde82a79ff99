"""What is cut out of an update is what the room holds already: the rest makes the same document as the whole update.

On what real Yjs clients write: a room that knows a part of a session, up to any clocks, gets everything at once, where
structs have grown together, so that what it knows ends inside of them.
"""

from __future__ import annotations

import os
from collections import Counter
from itertools import product
from typing import Any

import pytest
from pycrdt import Doc

from collab_server.firewall import UpdateRefused, check_state_vector
from collab_server.surrogates import SurrogatePairs
from collab_server.update_reading import Struct, read_update
from collab_server.update_trim import without_known
from tests.corpus.real_updates import Session, generate, merge_with_yjs, parse, read_content

SEED = int(os.environ.get("COLLAB_TEST_SEED", "12"))


@pytest.fixture(scope="module")
def sessions(node_packages: object) -> list[Session]:
    return [session for session in parse(generate(SEED, 600)).sessions if not session.cuts_pairs]


def document(*updates: bytes) -> Doc[Any]:
    doc: Doc[Any] = Doc()
    for update in updates:
        doc.apply_update(update)
    return doc


def encoded(doc: Doc[Any]) -> tuple[object, ...]:
    """The state as encoded, but for the order of clients and of the keys of objects, which is left to chance."""
    structs, deletes = read_update(doc.get_update())
    alike = (struct._replace(content=bytes(sorted(struct.content))) for struct in structs)
    return check_state_vector(doc.get_state()), Counter(alike), sorted(deletes)


def end(struct: Struct) -> int:
    return struct.clock + struct.length


def cuts_a_pair(state: bytes, known: dict[int, int]) -> bool:
    try:
        SurrogatePairs().check(state, known)
    except UpdateRefused:
        return True
    return False


def test_the_rest_of_an_update_makes_the_same_document_as_all_of_it(sessions: list[Session]) -> None:
    half_known, wholes, rests = 0, [], []
    for states, parts in merge_with_yjs(SEED, [session.updates for session in sessions]):
        for part, state in product(parts, states):
            known = check_state_vector(document(part).get_state())
            if cuts_a_pair(state, known):
                continue
            structs, deletes = read_update(state)
            half_known += sum(struct.clock < known.get(struct.client, 0) < end(struct) for struct in structs)
            rest = without_known(state, known)
            assert all(struct.clock >= known.get(struct.client, 0) for struct in read_update(rest)[0])
            assert read_update(rest)[1] == deletes
            whole_document, rest_document = document(part, state), document(part, rest)
            assert encoded(rest_document) == encoded(whole_document)
            wholes.append(whole_document.get_update())
            rests.append(rest_document.get_update())
    assert half_known > 50
    assert read_content(rests) == read_content(wholes)
