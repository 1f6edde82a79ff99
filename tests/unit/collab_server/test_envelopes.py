"""The bytes between tasks: what goes in comes out, and nothing else gets in."""

import hmac
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collab_server.bus import Envelope, EnvelopeKind
from collab_server.envelopes import MalformedEnvelope, came_from, decode, encode

ROOM = UUID("01234567-89ab-cdef-0123-456789abcdef")
ORIGINS = st.text(st.characters(codec="utf-8"), min_size=1, max_size=63)
KEYS = st.none() | st.binary(min_size=1, max_size=64)
ENVELOPES = st.builds(
    Envelope, st.sampled_from(EnvelopeKind), st.uuids(), ORIGINS, st.binary(max_size=200)
) | st.builds(Envelope, st.just(EnvelopeKind.CONTROL), st.none(), ORIGINS, st.binary(max_size=200))


def some(body: bytes = b"body") -> Envelope:
    return Envelope(EnvelopeKind.UPDATE, ROOM, "task-1", body)


def reason(wire: bytes, key: bytes | None = None) -> str:
    with pytest.raises(MalformedEnvelope) as refused:
        decode(wire, key)
    return refused.value.reason


@given(ENVELOPES, KEYS)
def test_an_envelope_comes_out_as_it_went_in(envelope: Envelope, key: bytes | None) -> None:
    assert decode(encode(envelope, key), key) == envelope


@given(st.binary(max_size=120), KEYS)
def test_foreign_bytes_are_refused_or_are_an_envelope_byte_for_byte(wire: bytes, key: bytes | None) -> None:
    try:
        envelope = decode(wire, key)
    except MalformedEnvelope:
        return
    assert encode(envelope, key) == wire


@given(st.sampled_from(EnvelopeKind), st.integers(min_value=0), st.integers(1, 255))
def test_a_signed_envelope_with_any_byte_changed_is_refused(kind: EnvelopeKind, place: int, change: int) -> None:
    wire = bytearray(encode(Envelope(kind, ROOM, "task-1", b"body"), b"key"))
    wire[place % len(wire)] ^= change
    with pytest.raises(MalformedEnvelope):
        decode(bytes(wire), b"key")


@given(st.integers(0, 200))
def test_a_cut_signed_envelope_is_refused(length: int) -> None:
    wire = encode(some(bytes(200)), b"key")
    with pytest.raises(MalformedEnvelope):
        decode(wire[:length], b"key")


def test_with_a_key_an_unsigned_envelope_is_refused() -> None:
    assert reason(encode(some()), b"key") == "signature"


def test_without_a_key_a_signed_envelope_is_refused() -> None:
    assert reason(encode(some(), b"key")) == "signature"


def test_an_envelope_that_hides_its_signature_is_refused() -> None:
    unsigned = encode(some())
    assert reason(unsigned + hmac.digest(b"key", unsigned, "sha256"), b"key") == "signature"


def test_an_envelope_signed_with_another_key_is_refused() -> None:
    assert reason(encode(some(), b"other"), b"key") == "signature"


@pytest.mark.parametrize(
    ("wire", "expected"),
    [
        (b"", "truncated"),
        (b"\x01\x01\x01", "truncated"),
        (b"\x02\x01\x01\x01a" + bytes(16), "version"),
        (b"\x01\x00\x01\x01a" + bytes(16), "kind"),
        (b"\x01\x06\x01\x01a" + bytes(16), "kind"),
        (b"\x01\x01\x05\x01a" + bytes(16), "kind"),
        (b"\x01\x01\x01\x01a" + bytes(15), "truncated"),
        (b"\x01\x05\x00\x05four", "truncated"),
        (b"\x01\x05\x00\x00", "content"),
        (b"\x01\x05\x00\x01\xff", "content"),
        (b"\x01\x05\x00\x40" + b"a" * 64, "content"),
        (b"\x01\x01\x00\x01a", "content"),
    ],
)
def test_malformed_bytes_are_refused_with_a_reason(wire: bytes, expected: str) -> None:
    assert reason(wire) == expected


@given(ENVELOPES, ORIGINS, KEYS)
def test_the_origin_is_told_without_decoding(envelope: Envelope, other: str, key: bytes | None) -> None:
    wire = encode(envelope, key)
    assert came_from(wire, envelope.origin.encode())
    assert came_from(wire, other.encode()) == (other == envelope.origin)


def test_an_origin_that_begins_like_ours_is_not_ours() -> None:
    assert not came_from(encode(Envelope(EnvelopeKind.CONTROL, None, "task-10", b"")), b"task-1")
    assert not came_from(encode(Envelope(EnvelopeKind.CONTROL, None, "task", b"-1")), b"task-1")
