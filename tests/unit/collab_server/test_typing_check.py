"""The fast path of the firewall has an opinion on typing only, and it is always that of the full check."""

from __future__ import annotations

import os
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pycrdt import Doc, Text

from collab_server.firewall import UpdateGap, UpdateRefused, UpdateSummary, check_fully, check_update
from collab_server.typing_check import check_typing
from collab_server.wire.lib0 import prefixed, varuint
from tests.corpus.hostile import Hostile, hostile_bytes
from tests.corpus.mutation import damage
from tests.corpus.real_updates import generate, parse

SEED = int(os.environ.get("COLLAB_TEST_SEED", "1"))
pytestmark = pytest.mark.xdist_group("real_updates")


def verdict(check: Any, update: bytes, known: dict[int, int]) -> UpdateSummary | str:
    try:
        summary: UpdateSummary = check(update, known)
    except (UpdateRefused, UpdateGap) as refusal:
        return f"{type(refusal).__name__}: {refusal}"
    return summary


def agree(update: bytes, known: dict[int, int]) -> bool:
    """Both checks say the same; returns whether the fast one had an opinion."""
    assert verdict(check_update, update, known) == verdict(check_fully, update, known), update.hex()
    return check_typing(update, known) is not None


def typed(client_id: int, keys: int) -> list[bytes]:
    """What a client sends while somebody types in the middle and takes back every fifth character."""
    doc: Doc[Any] = Doc(client_id=client_id)
    text = doc.get("content", type=Text)
    sent: list[bytes] = []
    doc.observe(lambda event: sent.append(event.update))
    for number in range(keys):
        if number % 5 == 4:
            del text[number // 3 : number // 3 + 1]
        else:
            text.insert(len(text) // 2, "k")
    return sent


def test_nearly_all_typing_is_judged_by_the_fast_path() -> None:
    known: dict[int, int] = {}
    judged = 0
    updates = typed(2**31 + 5, 1_000)
    for update in updates:
        judged += agree(update, known)
        known.update(check_update(update, known).clocks)
    assert judged > 0.99 * len(updates)


def test_it_agrees_with_the_full_check_on_what_real_clients_write_and_on_damage_to_it(node_packages: Path) -> None:
    assert node_packages.exists()
    random = Random(SEED)
    judged = 0
    for session in parse(generate(SEED, 3_000)).sessions:
        known: dict[int, int] = {}
        for update in session.updates:
            judged += agree(update, known)
            for _ in range(5):
                agree(damage(random, update, session.updates), known)
            for client, end in check_update(update, known).clocks:
                known[client] = max(end, known.get(client, 0))
    assert judged > 300


@pytest.mark.parametrize("hostile", hostile_bytes(), ids=str)
def test_it_agrees_on_everything_hostile(hostile: Hostile) -> None:
    for known in ({}, {1: 5, 77: 40}):
        agree(hostile.body, known)


ids = st.one_of(
    st.integers(0, 3), st.integers(0, 300), st.sampled_from([2**31 - 1, 2**31, 2**32 - 1, 2**35, 2**53 - 1])
)


@st.composite
def near_typing(draw: st.DrawFn) -> bytes:
    """Something shaped like typing, with numbers that may or may not fit."""
    if draw(st.booleans()):
        parts = [b"\x00\x01", varuint(draw(ids)), b"\x01", varuint(draw(ids)), varuint(draw(ids))]
    else:
        info = draw(st.sampled_from([0x84, 0x44, 0xC4, 0x04, 0x85, 0xE4]))
        parts = [b"\x01\x01", varuint(draw(ids)), varuint(draw(ids)), bytes((info,))]
        parts += [varuint(draw(ids)) for _ in range(4 if info & 0xC0 == 0xC0 else 2)]
        parts += [
            prefixed(draw(st.sampled_from([b"a", b"ab", b"\x00", "é".encode(), "😀".encode(), b"\xff", b""]))),
            b"\x00",
        ]
    return b"".join(parts) + draw(st.sampled_from([b"", b"", b"", b"\x00"]))


@given(update=near_typing(), known=st.dictionaries(st.integers(0, 3), st.integers(0, 300), max_size=3))
def test_it_agrees_on_numbers_that_do_not_fit(update: bytes, known: dict[int, int]) -> None:
    agree(update, known)


@pytest.mark.parametrize("longer", [b"\x80\x00", b"\x85\x80\x00"])
def test_integers_in_more_bytes_than_they_need_mean_the_same(longer: bytes) -> None:
    agree(b"\x01\x01\x05" + longer + b"\x84\x05\x00\x01a\x00", {5: 9})
    agree(b"\x00\x01\x05\x01" + longer + b"\x01", {5: 9})


def test_a_neighbour_whose_id_is_written_in_more_bytes_is_still_the_clients_own() -> None:
    agree(b"\x01\x01\x05\x03\x84\x85\x00\x07\x14" + b"a" * 20 + b"\x00", {5: 10})  # builds on itself
    agree(b"\x01\x01\x85\x00\x03\xc4\x05\x02\x05\x07\x14" + b"a" * 20 + b"\x00", {5: 10})
