"""Frames as the WebSocket library's clients build them, read by us."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.frames import Frame, Opcode

from collab_server.short_frames import short_message


def masked(payload: bytes, opcode: Opcode = Opcode.BINARY, *, fin: bool = True) -> bytes:
    """A client's frame."""
    return Frame(opcode, payload, fin).serialize(mask=True)


@given(payloads=st.lists(st.binary(max_size=125), max_size=5), rest=st.binary(max_size=5))
def test_short_messages_are_read_one_after_the_other_and_what_is_not_whole_is_left(
    payloads: list[bytes], rest: bytes
) -> None:
    received = b"".join(map(masked, payloads)) + rest
    at = 0
    for payload in payloads:
        short = short_message(received, at)
        assert short is not None
        assert short[0] == payload
        at = short[1]
    assert received[at:] == rest
    assert short_message(received, at) is None


LEFT_TO_THE_LIBRARY = {
    "nothing": b"",
    "longer": masked(b"x" * 126),
    "first of several": masked(b"x", fin=False),
    "last of several": masked(b"x", Opcode.CONT),
    "text": masked(b"x", Opcode.TEXT),
    "ping": masked(b"x", Opcode.PING),
    "incomplete": masked(b"x" * 20)[:-1],
    "unmasked": Frame(Opcode.BINARY, b"unmasked").serialize(mask=False),
    "reserved bit": bytes((0xC2,)) + masked(b"reserved bit")[1:],
    "length in more bytes than it needs": b"\x82\xfe\x00\x01" + bytes(4) + b"x",
}


@pytest.mark.parametrize("frame", LEFT_TO_THE_LIBRARY.values(), ids=LEFT_TO_THE_LIBRARY)
def test_everything_else_is_left_to_the_library(frame: bytes) -> None:
    assert short_message(frame, 0) is None
