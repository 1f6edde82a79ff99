"""Frames that the load generator builds, and frames that it skips."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.frames import Frame, Opcode
from websockets.protocol import State
from websockets.server import ServerProtocol

from bench.peers.frames import CLOSE, PING, FrameStream, client_frame, pong
from collab_server.wire.frame import binary_frame

LENGTHS = [0, 1, 125, 126, 65_535, 65_536, 70_000]


def received(data: bytes) -> list[Frame]:
    server = ServerProtocol(max_size=None)
    server.state = State.OPEN
    server.parser = server.parse()
    next(server.parser)
    server.receive_data(data)
    return [event for event in server.events_received() if isinstance(event, Frame)]


@pytest.mark.parametrize("length", LENGTHS)
def test_a_server_reads_a_built_frame_as_the_payload(length: int) -> None:
    payload = bytes(number % 251 for number in range(length))
    assert FrameStream().payloads(binary_frame(payload)) == [payload]
    head = len(client_frame(payload)) - length
    assert client_frame(payload)[head:] == payload
    assert client_frame(payload)[head - 4 : head] == bytes(4)


@pytest.mark.parametrize("cut", [1, 2, 3, 7, 130, 10_000])
def test_frames_are_counted_alike_however_the_stream_is_cut(cut: int) -> None:
    stream = b"".join(binary_frame(bytes(length)) for length in LENGTHS * 2)
    counting, reading = FrameStream(), FrameStream()
    payloads = []
    for start in range(0, len(stream), cut):
        counting.count(stream[start : start + cut])
        payloads += reading.payloads(stream[start : start + cut])
    assert counting.frames == reading.frames == len(LENGTHS) * 2
    assert [len(payload) for payload in payloads] == LENGTHS * 2


@given(st.lists(st.binary(max_size=300)), st.lists(st.integers(1, 400), min_size=1))
def test_counting_and_reading_agree(messages: list[bytes], cuts: list[int]) -> None:
    stream = b"".join(map(binary_frame, messages))
    counting, reading, payloads, at, turn = FrameStream(), FrameStream(), list[bytes](), 0, 0
    while at < len(stream):
        piece = stream[at : at + cuts[turn % len(cuts)]]
        counting.count(piece)
        payloads += reading.payloads(piece)
        at, turn = at + len(piece), turn + 1
    assert payloads == messages
    assert counting.frames == len(messages)


@pytest.mark.parametrize("cut", [1, 3, 100])
def test_a_ping_is_kept_for_its_answer_and_not_counted(cut: int) -> None:
    ping, close = b"\x89\x04beat", b"\x88\x02\x03\xe8"
    stream = binary_frame(b"one") + ping + binary_frame(b"two") + close
    counting, reading = FrameStream(), FrameStream()
    for start in range(0, len(stream), cut):
        counting.count(stream[start : start + cut])
        reading.payloads(stream[start : start + cut])
    for seen in (counting, reading):
        assert seen.frames == 2
        assert seen.controls == [(PING, b"beat"), (CLOSE, b"\x03\xe8")]


def test_a_pong_carries_the_pings_payload() -> None:
    assert pong(b"beat") == b"\x8a\x84" + bytes(4) + b"beat"


def test_the_websocket_library_reads_our_frames() -> None:
    frames = received(client_frame(b"hello") + pong(b"x"))
    assert [(frame.opcode, bytes(frame.data)) for frame in frames] == [(Opcode.BINARY, b"hello"), (Opcode.PONG, b"x")]
