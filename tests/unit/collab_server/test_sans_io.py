"""An open connection speaks WebSocket as before and holds nothing of its opening request."""

from __future__ import annotations

import gc

from websockets.frames import Frame, Opcode
from websockets.http11 import Request
from websockets.server import ServerProtocol

from collab_server.sans_io import forget_opening, opening_protocol
from tests.services.raw_socket import frame, opening

SUBPROTOCOLS = "Sec-WebSocket-Protocol: yjs, bearer.abc"


def opened() -> ServerProtocol:
    protocol = opening_protocol(1_000)
    protocol.receive_data(opening("demo", SUBPROTOCOLS))
    (request,) = protocol.events_received()
    assert isinstance(request, Request)
    protocol.send_response(protocol.accept(request))
    forget_opening(protocol)
    return protocol


def received(protocol: ServerProtocol, sent: bytes) -> list[tuple[Opcode, bytes]]:
    protocol.receive_data(sent)
    return [(event.opcode, bytes(event.data)) for event in protocol.events_received() if isinstance(event, Frame)]


def test_the_request_is_forgotten() -> None:
    before = sum(isinstance(found, Request) for found in gc.get_objects())
    protocol = opened()
    assert sum(isinstance(found, Request) for found in gc.get_objects()) == before
    assert protocol.subprotocol == "yjs"


def test_frames_are_read_whole_or_in_pieces() -> None:
    protocol = opened()
    assert received(protocol, frame(b"one") + frame(b"two")[:4]) == [(Opcode.BINARY, b"one")]
    assert received(protocol, frame(b"two")[4:]) == [(Opcode.BINARY, b"two")]


def test_what_is_no_frame_or_too_big_is_refused_with_the_librarys_code() -> None:
    for sent, code in ((frame(b"x", masked=False), 1002), (frame(b"x" * 1_001), 1009)):
        protocol = opened()
        assert received(protocol, sent) == []
        assert protocol.close_sent is not None
        assert protocol.close_sent.code == code


def test_a_close_frame_is_answered() -> None:
    protocol = opened()
    protocol.data_to_send()
    received(protocol, frame(b"\x03\xe8", 8))
    assert b"\x88\x02\x03\xe8" in b"".join(protocol.data_to_send())
