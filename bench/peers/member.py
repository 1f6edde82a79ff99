"""One member as a bare socket: it opens, joins, sends frames that were built before, and reads as little as it can.

Probes are read at once and told to the ledger; everyone else is read in big chunks by `swarm` and only counted, so that
a delivery costs the generator a fraction of what it costs any server. Called by `swarm` and `joins`.
"""

from __future__ import annotations

import asyncio
import socket
import time
from contextlib import suppress

from bench.peers.dialects import Dialect, Heard
from bench.peers.frames import CLOSE, PING, FrameStream, client_frame, pong

CHUNK_BYTES = 256 * 1024
OPEN_TIMEOUT_S = 60.0
_KEY = "AAAAAAAAAAAAAAAAAAAAAA=="  # RFC 6455 wants 16 bytes, any


class Lost(Exception):
    """The server refused or closed the connection; the message says how."""


class Member:
    """A connection to one document of one server."""

    __slots__ = ("_dialect", "_unsent", "bytes_received", "joined_after_s", "socket", "stream")

    def __init__(self, dialect: Dialect) -> None:
        self._dialect = dialect
        self._unsent = b""
        self.stream = FrameStream()
        self.bytes_received = 0
        self.joined_after_s = 0.0
        self.socket = socket.socket()
        self.socket.setblocking(False)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    async def join(self, port: int, path: str) -> list[bytes]:
        """Connect, upgrade, sync; returns the payloads that came up to and after the answer. Raises `Lost`."""
        began = time.perf_counter()
        try:
            async with asyncio.timeout(OPEN_TIMEOUT_S):
                payloads = await self._open(port, path)
        except (OSError, TimeoutError) as error:
            self.socket.close()
            raise Lost(f"{type(error).__name__}: {error}") from error
        self.joined_after_s = time.perf_counter() - began
        return payloads

    async def _open(self, port: int, path: str) -> list[bytes]:
        loop = asyncio.get_running_loop()
        await loop.sock_connect(self.socket, ("127.0.0.1", port))
        request = (
            f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {_KEY}\r\nSec-WebSocket-Version: 13\r\n\r\n"
        )
        await loop.sock_sendall(self.socket, request.encode())
        head = b""
        while b"\r\n\r\n" not in head:
            head += await self._receive(loop)
        head, _end, rest = head.partition(b"\r\n\r\n")
        if b" 101 " not in head.split(b"\r\n", 1)[0]:
            raise Lost(head.decode(errors="replace")[:200])
        await loop.sock_sendall(self.socket, b"".join(map(client_frame, self._dialect.opening())))
        payloads = self.stream.payloads(rest)
        while not any(self._dialect.read(payload)[0] is Heard.ANSWER for payload in payloads):
            self.answer_controls()
            payloads += self.stream.payloads(await self._receive(loop))
        return payloads

    async def _receive(self, loop: asyncio.AbstractEventLoop) -> bytes:
        received = await loop.sock_recv(self.socket, CHUNK_BYTES)
        if not received:
            raise Lost("closed while opening")
        self.bytes_received += len(received)
        return received

    def send(self, frame: bytes) -> None:
        """Send now what the socket takes and the rest with `flush`: a server that does not read must not stop us."""
        if self._unsent:
            self._unsent += frame
            return
        try:
            sent = self.socket.send(frame)
        except BlockingIOError:
            sent = 0
        except OSError as error:
            raise Lost(str(error)) from error
        if sent < len(frame):
            self._unsent = frame[sent:]

    @property
    def unsent_bytes(self) -> int:
        """What the server has not taken yet."""
        return len(self._unsent)

    def flush(self) -> None:
        """Try again what `send` could not."""
        frame, self._unsent = self._unsent, b""
        self.send(frame)

    def receive(self) -> bytes:
        """What is there now, one chunk at most. Raises `Lost` at the end of the stream."""
        try:
            received = self.socket.recv(CHUNK_BYTES)
        except BlockingIOError:
            return b""
        except OSError as error:
            raise Lost(str(error)) from error
        if not received:
            raise Lost("closed by the server")
        self.bytes_received += len(received)
        return received

    def answer_controls(self) -> None:
        """Answer pings; a close is the end. Raises `Lost`."""
        if self.stream.controls:
            for first_byte, payload in self.stream.controls:
                if first_byte == PING:
                    self.send(pong(payload))
                elif first_byte == CLOSE:
                    raise Lost(f"closed with {int.from_bytes(payload[:2], 'big')} {payload[2:].decode()}")
            self.stream.controls.clear()

    def close(self) -> None:
        """Say goodbye and hang up."""
        with suppress(OSError):
            self.socket.send(client_frame(b"\x03\xe8", CLOSE))
        self.socket.close()
