"""One WebSocket connection: bytes to messages and back, deadlines, and the ways it can end.

A thin shell around websockets' Sans-I/O `ServerProtocol`: messages are acted on in the transport's callback, without
a queue or a task for each. Knows no Yjs and no rooms beyond the seat it is given. Never raises into the event loop:
whatever goes wrong ends this connection and no other. Made by `server`, visited by `wheel`.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, cast

import structlog
from websockets.datastructures import MultipleValuesError
from websockets.frames import Frame, Opcode
from websockets.http11 import Request, Response
from websockets.protocol import State

from collab_server.admission import read_opening
from collab_server.errors import Close, Refused
from collab_server.farewell import Farewell
from collab_server.patience import Patience
from collab_server.peer import prepare
from collab_server.phase import Phase
from collab_server.rooms.member import Member
from collab_server.sans_io import forget_opening, opening_protocol
from collab_server.short_frames import short_message
from collab_server.turns import Turns
from collab_server.wire.frame import binary_frame, masked_frame_bytes

if TYPE_CHECKING:
    from collab_server.server import Server

log = structlog.get_logger(__name__)

LINGER_S = 5.0  # for the peer to answer our close frame, then the socket is dropped
MAX_FRAGMENTS = 1_024  # of one message: a 32 MiB document in 32 KiB pieces; empty fragments cost memory but no bytes
FRAGMENT_COST_BYTES = 1_024  # what each further piece of a message costs its sender's allowance: 5 µs, as 1 KiB does
END_OF_HEAD = b"\r\n\r\n"  # RFC 9112 §2.1: what comes after it is no part of an opening request
# What the WebSocket layer closes with by itself, counted here as well.
_LIBRARY_CLOSES = {close.code: close for close in (Close.PROTOCOL, Close.BAD_TEXT, Close.TOO_BIG)}


class Connection(asyncio.Protocol):
    """A connection from its first byte to its last."""

    __slots__ = (
        "_admitting",
        "_deadline",
        "_farewell",
        "_fragments",
        "_heard",
        "_limits",
        "_patience",
        "_protocol",
        "_request",
        "_server",
        "_slot",
        "_unparsed_bytes",
        "address",
        "member",
        "phase",
        "transport",
        "turns",
    )

    def __init__(self, server: Server) -> None:
        limits = server.settings
        self._server = server
        self._protocol = opening_protocol(limits.max_reader_message_bytes)
        self._admitting: asyncio.Task[None] | None = None
        self._fragments: list[bytes] = []
        self._request = b""
        self._limits = server.full_limits()
        self._deadline: float | None = server.loop.time() + limits.handshake_timeout_s
        self._heard = False
        self._farewell: Farewell | None = None
        self._patience = Patience()
        self._unparsed_bytes = 0  # of frames that the library has not seen whole
        self.phase = Phase.OPENING
        self.transport: asyncio.Transport
        self.address = ""
        self.member: Member | None = None

    # Transport callbacks

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A peer has connected."""
        self.transport = cast(asyncio.Transport, transport)
        # The transport tells when it is above the mark; the member is then sent no more news.
        self.address = prepare(self.transport, self._server.settings.outbox_high_water_bytes)
        self.turns = Turns(self._feed, self.transport, self._server.loop)
        self._slot = self._server.wheel.add(self)
        self._server.connected(self)

    def data_received(self, data: bytes) -> None:
        """Bytes came: act on every whole message among them."""
        self._heard = True
        if self.phase is Phase.OPENING:
            self._collect_request(data)
        elif self.phase is Phase.ADMITTING:
            self.refuse_upgrade(Refused(Close.TOO_EARLY))
        else:
            self.turns.take(data)

    def _feed(self, data: bytes) -> None:
        if self.transport.is_closing():  # dropped because of an earlier slice
            return
        if self._unparsed_bytes == 0 and not self._fragments:
            data = self._take_short_messages(data)
            if not data:
                return
        protocol = self._protocol
        protocol.receive_data(data)
        self._unparsed_bytes += len(data)
        for event in protocol.events_received():
            frame = cast(Frame, event)
            self._unparsed_bytes -= masked_frame_bytes(len(frame.data))
            self._frame_received(frame)
            frame.data = b""  # the library keeps the newest frame until the next one comes, were it 32 MiB
        if protocol.writes:
            self._flush()
        if protocol.state is not State.OPEN and self.phase is Phase.SEATED:
            self._ended_by_protocol()

    def _take_short_messages(self, data: bytes) -> bytes:
        """Act on the short messages that `data` begins with, past the library; return the rest."""
        at = 0
        while self.phase is Phase.SEATED and (short := short_message(data, at)) is not None:
            payload, at = short
            self._message_received(payload)
        return data[at:] if at else data

    def eof_received(self) -> bool:
        """The peer will send no more."""
        self._protocol.receive_eof()
        self._flush()
        if self.phase is Phase.SEATED:
            self._ended_by_protocol()
        return False

    def pause_writing(self) -> None:
        """More is unsent than the high-water mark."""
        if self.member is not None:
            self.member.fell_behind()

    def resume_writing(self) -> None:
        """The peer has caught up."""
        if self.member is not None:
            try:
                self.member.caught_up()
            except Refused as refusal:
                self.close(refusal)
            except Exception as error:  # it might miss something for good: it comes back and gets everything
                log.error("catch_up_failed", exc_info=error)
                self.close(Refused(Close.ROOM_UNAVAILABLE))

    def connection_lost(self, error: Exception | None) -> None:  # noqa: ARG002 - why it ended changes nothing here
        """The socket is gone."""
        self._server.wheel.remove(self, self._slot)
        if self._admitting is not None:
            self._admitting.cancel()
        self._end()
        self._server.disconnected(self)

    # Opening

    def _collect_request(self, data: bytes) -> None:
        """Before a seat is taken a peer sends one request of bounded size, and nothing more."""
        self._request += data
        head, end, early = self._request.partition(END_OF_HEAD)
        if len(head) > self._server.settings.max_handshake_bytes:
            self.refuse_upgrade(Refused(Close.TOO_BIG))
        elif end:
            self._request = b""
            self._protocol.receive_data(head + end)
            if requests := self._protocol.events_received():
                self._request_received(cast(Request, requests[0]))
            else:
                self._answer_no_request()
            if early and self.phase is Phase.ADMITTING:
                self.refuse_upgrade(Refused(Close.TOO_EARLY))

    def _answer_no_request(self) -> None:
        """What came is no HTTP request. The library has ended its side without an answer: this one goes past it."""
        self._protocol.data_to_send()
        refusal = Refused(Close.PROTOCOL)
        self._server.refused(refusal)
        self.transport.write(self._protocol.reject(refusal.reason.status, refusal.detail + "\n").serialize())
        self.transport.write_eof()
        self._end()

    def _request_received(self, request: Request) -> None:
        response = self._protocol.accept(request)
        if response.status_code != 101:  # not a WebSocket request: the library's answer says so
            self._answer(response, Refused(Close.PROTOCOL))
            return
        try:
            opening = read_opening(request.path, request.headers)
            self._server.admission.check_origin(opening)
        except MultipleValuesError as error:
            self.refuse_upgrade(Refused(Close.MALFORMED, f"a header came twice: {error}"))
        except Refused as refusal:
            self.refuse_upgrade(refusal)
        else:
            self.phase = Phase.ADMITTING
            self._deadline = self._server.loop.time() + self._server.settings.open_timeout_s
            self._admitting = self._server.tasks.start(self._server.admit(self, opening, response), "admit")

    def accept_upgrade(self, response: Response) -> None:
        """Answer the opening request with 101."""
        self._admitting = None
        self._deadline = None
        self._protocol.send_response(response)
        self._flush()
        forget_opening(self._protocol)

    def take_seat(self, member: Member, max_message_bytes: int) -> None:
        """Messages of at most `max_message_bytes` now go to `member`."""
        self._protocol.max_message_size = max_message_bytes
        self.member = member
        self.phase = Phase.SEATED

    def refuse_upgrade(self, refusal: Refused) -> None:
        """Answer the opening request with the refusal's HTTP status."""
        self._answer(self._protocol.reject(refusal.reason.status, refusal.detail + "\n"), refusal)

    def _answer(self, response: Response, refusal: Refused) -> None:
        self._server.refused(refusal)
        self._protocol.send_response(response)
        self._end()
        self._flush()

    def refuse_in_band(self, denial: bytes, refusal: Refused) -> None:
        """Tell an accepted browser, which sees no HTTP status, why it is refused; then close."""
        self.transport.write(binary_frame(denial))
        self._server.refused(refusal)
        self._send_close(refusal)

    # Seated

    def _frame_received(self, frame: Frame) -> None:
        if self.phase is not Phase.SEATED:
            self._late_frame_received(frame)
        elif frame.opcode is Opcode.BINARY and frame.fin:
            self._message_received(bytes(frame.data))
        elif frame.opcode is Opcode.BINARY or frame.opcode is Opcode.CONT:
            self._fragment_received(frame)
        elif frame.opcode is Opcode.TEXT:
            self.close(Refused(Close.TEXT))
        elif not self._limits.take(len(frame.data), self._server.loop.time()):  # each ping is answered by the library
            self.close(Refused(Close.TOO_FREQUENT))

    def _late_frame_received(self, frame: Frame) -> None:
        """What was under way when we closed counts for those moved off; who sends on regardless is cut off."""
        now = self._server.loop.time()
        if not self._limits.take(len(frame.data), now):
            self.transport.abort()
        elif self._farewell is not None:
            self._farewell.receive(frame, now)

    def _fragment_received(self, frame: Frame) -> None:
        if len(self._fragments) >= MAX_FRAGMENTS:
            self.close(Refused(Close.TOO_MANY_FRAGMENTS))
            return
        self._fragments.append(bytes(frame.data))
        if frame.fin:
            fragments, self._fragments = self._fragments, []
            self._message_received(b"".join(fragments), (len(fragments) - 1) * FRAGMENT_COST_BYTES)

    def _message_received(self, payload: bytes, extra_cost_bytes: int = 0) -> None:
        member = cast(Member, self.member)
        now = self._server.loop.time()
        try:
            if not self._limits.take(len(payload) + extra_cost_bytes, now):
                raise Refused(Close.TOO_FREQUENT)
            if not member.receive(payload, now):
                self._limits.give_back(len(payload))
        except Refused as refusal:
            self.close(refusal)
        except Exception as error:  # a fault of ours costs this connection, never the loop
            log.error("message_failed", exc_info=error)
            self.close(Refused(Close.ROOM_UNAVAILABLE))

    # Ending

    def close(self, refusal: Refused) -> None:
        """End a seated connection with the refusal's code; what was queued before is still sent."""
        if self.phase is Phase.SEATED and self.member is not None:
            self.member.expelled = True
            self._server.closed(refusal, self.member)
            self._send_close(refusal)

    def move_off(self) -> None:
        """Send a seated member elsewhere, for this server stops; what it had sent before it knew is still taken in."""
        if self.phase is Phase.SEATED and self.member is not None:
            refusal, self._farewell = Refused(Close.RESTARTING), Farewell(self.member)
            self._server.closed(refusal)
            self._send_close(refusal)

    def overflow(self) -> None:
        """The peer reads too slowly for what it is owed. A close frame would wait behind all that: drop the socket."""
        if self.phase is Phase.SEATED:
            self._server.closed(Refused(Close.TOO_SLOW))
            self._end()
            self.transport.abort()

    def shed(self) -> None:
        """All connections together hold too much, and this one has one of the largest shares."""
        if self.unfinished_bytes > self.transport.get_write_buffer_size():
            self.close(Refused(Close.OVERLOADED))
            self.transport.close()  # reads no more; what is written above still goes out
        elif self.member is not None:
            self.overflow()
        else:
            self.transport.abort()

    def _send_close(self, refusal: Refused) -> None:
        # RFC 6455 §5.5: a close frame holds 125 bytes, two of them the code.
        if self._protocol.state is State.OPEN:  # not when its own close frame came right behind what is refused
            self._protocol.send_close(refusal.reason.code, refusal.detail.encode()[:123].decode(errors="ignore"))
        self._limits = self._server.full_limits()  # for what is still under way
        self._end()
        self._flush()

    def _ended_by_protocol(self) -> None:
        """The WebSocket layer ended it: a close frame came, the peer hung up, or a frame was not valid."""
        sent = self._protocol.close_sent
        if sent is not None and self._protocol.close_rcvd is None and sent.code in _LIBRARY_CLOSES:
            self._server.closed(Refused(_LIBRARY_CLOSES[sent.code]))
        self._end()

    def _end(self) -> None:
        self.phase = Phase.ENDING
        self._deadline = self._server.loop.time() + LINGER_S
        self._fragments.clear()
        member, self.member = self.member, None
        if member is not None:
            self._server.left(member)

    def _flush(self) -> None:
        for chunk in self._protocol.data_to_send():
            if chunk:
                self.transport.write(chunk)
            elif self.transport.can_write_eof() and not self.transport.is_closing():
                self.transport.write_eof()

    # Deadlines

    def visit(self, now: float) -> None:
        """Once a turn of the wheel: deadlines, expiry of the token, ping, keep-alive."""
        self._server.budget.count(self.unfinished_bytes + self.transport.get_write_buffer_size())
        if self.member is not None:
            self._visit_seated(self.member)
        elif self._deadline is not None and now >= self._deadline:
            self._time_is_up()

    def _time_is_up(self) -> None:
        match self.phase:
            case Phase.OPENING:
                self.refuse_upgrade(Refused(Close.TOO_SLOW_TO_OPEN))
            case Phase.ADMITTING:  # not the peer's doing
                self.refuse_upgrade(Refused(Close.ROOM_UNAVAILABLE))
            case _:
                self.transport.abort()

    def _visit_seated(self, member: Member) -> None:
        settings = self._server.settings
        if member.ends_at is not None and member.ends_at <= self._server.wall_clock():
            self.close(Refused(Close.EXPIRED))
            return
        patience = self._patience
        # While it is held nothing is read, so neither silence nor half a message says anything about the peer.
        is_held, congested = member.is_held, member.outbox.congested
        unfinished_bytes = 0 if is_held else self.unfinished_bytes
        if patience.stuck_s(member.received_messages, unfinished_bytes) >= settings.message_timeout_s:
            self.close(Refused(Close.MESSAGE_TIMEOUT))
            return
        stalled_s = patience.stalled_s(member.outbox.queued_bytes if congested else 0)
        # While much waits for it, a ping would wait behind that, and so would its answer.
        silent_s = patience.silent_s(heard=self._heard or congested or is_held)
        self._heard = False
        if stalled_s >= settings.outbox_stall_timeout_s:
            self.overflow()
        elif silent_s >= settings.ping_interval_s + settings.ping_timeout_s:
            self.transport.abort()  # a dead path: nobody is there to read a close frame
        else:
            if silent_s >= settings.ping_interval_s:
                self._protocol.send_ping(b"")
                self._flush()
            if patience.quiet_s(member.outbox.frames) >= settings.keepalive_s and not congested:
                member.keep_alive()

    @property
    def unfinished_bytes(self) -> int:
        """What has come of a request or message that is not whole yet."""
        return len(self._request) + len(self.turns) + len(self._protocol.reader.buffer) + sum(map(len, self._fragments))
