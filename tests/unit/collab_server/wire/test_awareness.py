"""Awareness bodies: bounded, strict, and the same bytes after a round trip."""

from __future__ import annotations

import json

import pytest
from pycrdt import Awareness, Doc

from collab_server.wire.awareness import AwarenessEntry, AwarenessLimits, decode_entries, encode_entries
from collab_server.wire.lib0 import MAX_VARUINT, MalformedMessage, varuint

LIMITS = AwarenessLimits(max_entries=3, max_state_bytes=20)


def test_what_another_implementation_writes_is_read() -> None:
    awareness = Awareness(Doc(client_id=7))
    awareness.set_local_state({"user": "Zoë"})
    (entry,) = decode_entries(awareness.encode_awareness_update([7]), AwarenessLimits())
    assert entry.client_id == 7
    assert json.loads(entry.state) == {"user": "Zoë"}


def test_entries_survive_a_round_trip() -> None:
    entries = (AwarenessEntry(1, 0, b"null"), AwarenessEntry(MAX_VARUINT, MAX_VARUINT, '{"é":1}'.encode()))
    assert decode_entries(encode_entries(entries), LIMITS) == entries
    assert decode_entries(encode_entries(()), LIMITS) == ()


def test_more_entries_than_allowed_are_refused_before_they_are_read() -> None:
    entry = AwarenessEntry(1, 1, b"{}")
    assert len(decode_entries(encode_entries([entry] * 3), LIMITS)) == 3
    with pytest.raises(MalformedMessage, match="awareness_entries"):
        decode_entries(encode_entries([entry] * 4), LIMITS)
    with pytest.raises(MalformedMessage, match="awareness_entries"):
        decode_entries(varuint(MAX_VARUINT), LIMITS)


def test_a_state_larger_than_allowed_is_refused() -> None:
    assert decode_entries(encode_entries([AwarenessEntry(1, 1, b"x" * 20)]), LIMITS)
    with pytest.raises(MalformedMessage, match="awareness_state"):
        decode_entries(encode_entries([AwarenessEntry(1, 1, b"x" * 21)]), LIMITS)


def test_one_bad_entry_spoils_the_message() -> None:
    good = encode_entries([AwarenessEntry(1, 1, b"{}")])[1:]
    with pytest.raises(MalformedMessage, match="utf8"):
        decode_entries(b"\x02" + good + b"\x02\x01\x01\xff", LIMITS)
    with pytest.raises(MalformedMessage, match="trailing"):
        decode_entries(b"\x01" + good + b"\x00", LIMITS)
