"""A TCP connection that speaks WebSocket byte by byte, for what no WebSocket library would send."""

from __future__ import annotations

import asyncio
import re
import socket
import struct
from types import TracebackType

from tests.services.server import ServerProcess

BINARY, TEXT, CONTINUATION, PING = 2, 1, 0, 9
MASK = b"\x00\x00\x00\x00"  # masks nothing: payloads stay readable


def opening(document: str, *headers: str, token: str | None = None) -> bytes:
    """A valid opening request, whole."""
    query = f"?token={token}" if token else ""
    return request(f"/ws/{document}{query}", *headers)


def request(target: str | bytes, *headers: str) -> bytes:
    """An opening request for any target."""
    path = target if isinstance(target, bytes) else target.encode()
    lines = [
        b"GET " + path + b" HTTP/1.1",
        b"Host: localhost",
        b"Connection: Upgrade",
        b"Upgrade: websocket",
        b"Sec-WebSocket-Version: 13",
        b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==",
        *(header.encode() for header in headers),
    ]
    return b"\r\n".join(lines) + b"\r\n\r\n"


def frame(payload: bytes, opcode: int = BINARY, *, fin: bool = True, masked: bool = True, reserved: int = 0) -> bytes:
    """One frame as RFC 6455 §5.2 lays it out; `reserved` are the three reserved bits as a number from 0 to 7."""
    first = fin << 7 | reserved << 4 | opcode
    return bytes((first,)) + length_of(len(payload), masked=masked) + (MASK if masked else b"") + payload


def length_of(length: int, *, masked: bool = True) -> bytes:
    """A frame's length field with its mask bit."""
    bit = masked << 7
    if length < 126:
        return bytes((bit | length,))
    if length < 0x10000:
        return bytes((bit | 126,)) + length.to_bytes(2, "big")
    return bytes((bit | 127,)) + length.to_bytes(8, "big")


class RawSocket:
    """`async with RawSocket(server) as raw`: connected, nothing sent yet. Collects what comes until the end."""

    def __init__(self, server: ServerProcess) -> None:
        self._port = server.ws_port
        self.received = b""

    async def __aenter__(self) -> RawSocket:
        self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port)
        self._writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return self

    async def __aexit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._writer.transport.abort()

    def write(self, sent: bytes) -> None:
        """Send without waiting: a server that has hung up is no error here."""
        self._writer.write(sent)

    async def upgraded(self, document: str, *headers: str, token: str | None = None) -> None:
        """Send a valid opening request and wait for the 101."""
        self.write(opening(document, *headers, token=token))
        async with asyncio.timeout(20):
            head = await self._reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 101"), head

    async def survives(self, sent: bytes) -> bool:
        """Send, and say once the server has acted on it whether this connection goes on: then it answers a ping."""
        self.write(sent + frame(b"still here?", PING))
        async with asyncio.timeout(30):
            while b"\x8a\x0bstill here?" not in self.received:
                chunk = await self._reader.read(65536)
                self.received += chunk
                if not chunk or _close_code(self.received) is not None:
                    return False
        self.received = b""
        return True

    async def until_end(self) -> bytes:
        """Everything that came until the server ended its side."""
        async with asyncio.timeout(30):
            try:
                while chunk := await self._reader.read(65536):
                    self.received += chunk
            except ConnectionResetError:
                pass
        return self.received

    async def status(self) -> int:
        """The HTTP status of the answer, once the server has ended its side."""
        found = re.match(rb"HTTP/1\.1 (\d{3}) ", await self.until_end())
        assert found, self.received
        return int(found[1])

    async def close_code(self) -> int:
        """The code of the server's close frame, once it has come."""
        async with asyncio.timeout(30):
            while (code := _close_code(self.received)) is None:
                chunk = await self._reader.read(65536)
                assert chunk, f"ended without a close frame: {self.received!r}"
                self.received += chunk
        return code


def _close_code(stream: bytes) -> int | None:
    """The code of the first close frame among whole, unmasked frames."""
    at = 0
    while at + 2 <= len(stream):
        opcode, length, start = stream[at] & 0x0F, stream[at + 1], at + 2
        if length == 126:
            length, start = int.from_bytes(stream[at + 2 : at + 4], "big"), at + 4
        elif length == 127:
            length, start = int.from_bytes(stream[at + 2 : at + 10], "big"), at + 10
        if opcode == 8 and start + 2 <= len(stream):
            return int(struct.unpack(">H", stream[start : start + 2])[0])
        at = start + length
    return None
