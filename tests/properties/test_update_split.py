"""An update cut into pieces is the same update: on what real Yjs clients write, and on a big document."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from random import Random
from typing import Any

import pytest
from pycrdt import Doc, Text

from collab_server.big_work import BOUNDS
from collab_server.firewall import check_state_vector, check_update
from collab_server.surrogates import SurrogatePairs
from collab_server.update_reading import Struct, read_update
from collab_server.update_split import Bounds, Piece, split_update
from tests.corpus.real_updates import Session, generate, parse
from tests.services.big_documents import big_document

SMALL = (Bounds(1, 1, 1), Bounds(40, 3, 2), Bounds(300, 1_000, 5), Bounds(100_000, 100, 100_000))


@pytest.fixture(scope="module")
def sessions(node_packages: object) -> list[Session]:
    return [session for session in parse(generate(11, 3_000)).sessions if not session.cuts_pairs]


def document(updates: Iterable[bytes]) -> Doc[Any]:
    doc: Doc[Any] = Doc()
    for update in updates:
        doc.apply_update(update)
    return doc


def content(doc: Doc[Any]) -> tuple[object, ...]:
    """All there is in a document. Its encoding is no measure: keys, clients and joints come as they like."""
    structs, deletes = read_update(doc.get_update())
    kinds = {(struct.client, clock): struct.kind for struct in structs for clock in clocks_of(struct)}
    return kinds, sorted(deletes), str(doc.get("content", type=Text))


def values(doc: Doc[Any]) -> Counter[tuple[int, int, bytes]]:
    structs, _deletes = read_update(doc.get_update())
    return Counter((struct.client, struct.kind, bytes(sorted(struct.content))) for struct in structs)


def clocks_of(struct: Struct) -> range:
    return range(struct.clock, struct.clock + struct.length)


def apply_in_order(doc: Doc[Any], pieces: Iterable[Piece], clocks: dict[int, int]) -> None:
    """Apply each piece as a room does: the firewall must let it in, and nothing may stay aside."""
    pairs = SurrogatePairs()
    for piece in pieces:
        summary = check_update(piece.update, clocks)
        assert dict(summary.clocks) == dict(piece.ends)
        assert summary.reach == dict(piece.reach)
        pairs.learn(piece.update)
        doc.apply_update(piece.update)
        for client, end in piece.ends:
            clocks[client] = max(clocks.get(client, 0), end)
        assert check_state_vector(doc.get_state()) == clocks


def cut_and_apply(update: bytes, held: Iterable[bytes], bounds: Bounds) -> tuple[Doc[Any], list[Piece]]:
    doc = document(held)
    clocks = check_state_vector(doc.get_state())
    pieces = list(split_update(update, clocks, bounds))
    apply_in_order(doc, pieces, clocks)
    return doc, pieces


@pytest.mark.parametrize("bounds", SMALL)
def test_the_pieces_of_a_whole_document_make_that_document(sessions: list[Session], bounds: Bounds) -> None:
    for session in sessions:
        state = document(session.updates).get_update()
        doc, pieces = cut_and_apply(state, (), bounds)
        assert pieces
        assert content(doc) == content(document([state]))
        assert values(doc) == values(document([state]))


@pytest.mark.parametrize("bounds", SMALL)
def test_a_room_that_holds_a_part_gets_the_rest(sessions: list[Session], bounds: Bounds) -> None:
    chance = Random(bounds.max_bytes)
    for session in sessions:
        held = session.updates[: chance.randrange(len(session.updates) + 1)]
        state = document(session.updates).get_update()
        doc, pieces = cut_and_apply(state, held, bounds)
        assert content(doc) == content(document([*held, state]))
        known = check_state_vector(document(held).get_state())
        assert all(known.get(struct.client, 0) < struct.clock + struct.length for struct in structs_of(pieces))


@pytest.mark.parametrize("bounds", SMALL)
def test_a_piece_is_within_its_bounds_or_a_single_struct(sessions: list[Session], bounds: Bounds) -> None:
    for session in sessions:
        for piece in split_update(document(session.updates).get_update(), {}, bounds):
            structs, deletes = read_update(piece.update)
            assert len(structs) <= bounds.max_structs
            assert len(deletes) <= bounds.max_deletes
            heads = 1 + len(piece.ends) * 18
            assert len(piece.update) <= bounds.max_bytes + heads + 1 or len(structs) == 1 or deletes


def test_the_pieces_name_the_surrogate_pairs_that_are_in_them(sessions: list[Session]) -> None:
    found = 0
    for session in sessions:
        for piece in split_update(document(session.updates).get_update(), {}, Bounds(60, 5, 5)):
            pairs = SurrogatePairs()
            pairs.learn(piece.update)
            assert pairs.second_halves == set(piece.pairs)
            found += len(piece.pairs)
    assert found, "no session holds an emoji"


def test_what_is_known_already_makes_no_pieces_but_its_deletes(sessions: list[Session]) -> None:
    for session in sessions:
        whole = document(session.updates)
        known: Mapping[int, int] = check_state_vector(whole.get_state())
        assert not any(piece.ends for piece in split_update(whole.get_update(), known, BOUNDS))


def test_a_big_document_comes_through_in_pieces_of_bounded_size() -> None:
    state = big_document(1_000_000)
    doc, pieces = cut_and_apply(state, (), BOUNDS)
    assert doc.get_update() == state
    assert len(pieces) > 10
    assert max(len(piece.update) for piece in pieces) < 2 * BOUNDS.max_bytes


def structs_of(pieces: Iterable[Piece]) -> list[Struct]:
    return [struct for piece in pieces for struct in read_update(piece.update)[0]]
