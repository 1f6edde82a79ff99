"""Outgoing frames, read back by the WebSocket library that clients of ours use, and the length of theirs."""

from __future__ import annotations

import pytest
from websockets.frames import Frame, Opcode
from websockets.streams import StreamReader

from collab_server.wire.frame import binary_frame, masked_frame_bytes


@pytest.mark.parametrize("length", [0, 1, 125, 126, 127, 0xFFFF, 0x1_0000, 300_000])
def test_a_frame_is_one_whole_unmasked_binary_message(length: int) -> None:
    payload = b"\x5a" * length
    stream = StreamReader()
    stream.feed_data(binary_frame(payload))
    stream.feed_eof()
    parsing = Frame.parse(stream.read_exact, mask=False)
    with pytest.raises(StopIteration) as done:
        next(parsing)
    frame = done.value.value
    assert (frame.opcode, frame.fin, bytes(frame.data)) == (Opcode.BINARY, True, payload)
    assert binary_frame(payload) == Frame(Opcode.BINARY, payload).serialize(mask=False)


@pytest.mark.parametrize("length", [0, 1, 125, 126, 127, 0xFFFF, 0x1_0000, 300_000])
def test_the_length_of_a_clients_frame_is_known_from_its_payload(length: int) -> None:
    assert masked_frame_bytes(length) == len(Frame(Opcode.BINARY, b"x" * length).serialize(mask=True))
