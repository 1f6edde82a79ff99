"""The y-websocket dialect against bytes written down from y-protocols."""

from __future__ import annotations

import pytest

from collab_server.wire import yjs
from collab_server.wire.awareness import AwarenessEntry, AwarenessLimits
from collab_server.wire.dialect import Dialect
from collab_server.wire.messages import (
    Awareness,
    Durable,
    MalformedMessage,
    Message,
    PermissionDenied,
    QueryAwareness,
    Renew,
    Renewed,
    SyncStep1,
    SyncStep2,
    Update,
)

LIMITS = AwarenessLimits()

KNOWN: list[tuple[Message, str]] = [
    (SyncStep1(b"\x00"), "00000100"),
    (SyncStep2(b"\x00\x00"), "0001020000"),
    (Update(b"\x00\x00"), "0002020000"),
    (Update(b"x" * 200), "0002c801" + "78" * 200),
    (Awareness((AwarenessEntry(5, 1, b"null"),)), "0108010501046e756c6c"),
    (QueryAwareness(), "03"),
    (Durable(300), "79ac02"),
    (Renew("abc"), "7a03616263"),
    (Renewed(300), "7bac02"),
    (Renewed(0), "7b00"),
    (PermissionDenied("né"), "0200036ec3a9"),
]


@pytest.mark.parametrize(("message", "frame"), KNOWN, ids=lambda value: str(value)[:30])
def test_messages_have_the_bytes_that_stock_clients_send(message: Message, frame: str) -> None:
    assert yjs.encode(message).hex() == frame
    assert yjs.decode(bytes.fromhex(frame), LIMITS) == message


@pytest.mark.parametrize(("message", "frame"), KNOWN[:5] + KNOWN[6:], ids=lambda value: str(value)[:30])
def test_every_cut_and_every_trailing_byte_is_refused(message: Message, frame: str) -> None:
    whole = bytes.fromhex(frame)
    for length in range(len(whole)):
        with pytest.raises(MalformedMessage):
            yjs.decode(whole[:length], LIMITS)
    with pytest.raises(MalformedMessage, match="trailing"):
        yjs.decode(whole + b"\x00", LIMITS)


def test_a_query_for_awareness_may_have_a_body() -> None:
    assert yjs.decode(b"\x03\x02\x00\x00", LIMITS) == QueryAwareness()


@pytest.mark.parametrize("frame", ["04", "6600", "000300", "8000020000", "0080020000", "02010474657874"])
def test_unknown_types_are_refused(frame: str) -> None:
    with pytest.raises(MalformedMessage):
        yjs.decode(bytes.fromhex(frame), LIMITS)


def test_an_empty_frame_is_refused() -> None:
    with pytest.raises(MalformedMessage, match="empty"):
        yjs.decode(b"", LIMITS)


def test_the_fast_way_to_relay_an_update_is_the_same_as_the_slow_one() -> None:
    for length in (0, 1, 127, 128, 129, 16_384):
        assert yjs.encode_update(b"u" * length) == yjs.encode(Update(b"u" * length))


def test_the_module_is_a_dialect() -> None:
    dialect: Dialect = yjs
    assert dialect.encode_update(b"\x00\x00") == b"\x00\x02\x02\x00\x00"


@pytest.mark.parametrize("third", range(0x80, 0x100))
def test_the_short_way_leaves_longer_lengths_to_the_full_one(third: int) -> None:
    """From 0x80 on the third byte is only the first of a length."""
    frame = bytes((0, 2, third)) + b"\x01" * third
    assert yjs.short_update(frame) is None
    with pytest.raises(MalformedMessage):
        yjs.decode(frame, LIMITS)
