"""WebSocket frames as the load generator needs them: built once before the clock runs, skipped cheaply when received.

Client frames are masked with a key of zero, which is a mask like any other to a server and leaves the payload as it
is. Received frames are whole messages of a server that neither compresses nor fragments. Pure. Called by `member`.
"""

from __future__ import annotations

_BINARY, _PONG = 0x82, 0x8A  # FIN set
CLOSE, PING = 0x88, 0x89
_MASKED = 0x80
_NO_MASK = bytes(4)


def client_frame(payload: bytes, first_byte: int = _BINARY) -> bytes:
    """`payload` as one masked message."""
    length = len(payload)
    if length < 126:
        head = bytes((first_byte, _MASKED | length))
    elif length < 0x1_0000:
        head = bytes((first_byte, _MASKED | 126)) + length.to_bytes(2, "big")
    else:
        head = bytes((first_byte, _MASKED | 127)) + length.to_bytes(8, "big")
    return head + _NO_MASK + payload


def pong(payload: bytes) -> bytes:
    """The answer to a ping."""
    return client_frame(payload, _PONG)


class FrameStream:
    """The frames in what one connection receives, however it is cut: with their payloads, or only counted.

    `controls` collects pings and closes as (first byte, payload), for the owner to act on and clear.
    """

    __slots__ = ("_rest", "_skip", "controls", "frames")

    def __init__(self) -> None:
        self._rest = b""  # the beginning of a frame whose end has not come
        self._skip = 0  # bytes still to come of a frame that is only counted
        self.frames = 0
        self.controls: list[tuple[int, bytes]] = []

    def payloads(self, received: bytes) -> list[bytes]:
        """The payloads that are complete now. Not to be called between the parts of a frame that `count` has begun."""
        buffer = self._rest + received if self._rest else received
        found, at, end = [], 0, len(buffer)
        while (start := _payload_start(buffer, at, end)) is not None:
            stop = start + _length(buffer, at)
            if stop > end:
                break
            if buffer[at] & 0x08:
                self.controls.append((buffer[at], buffer[start:stop]))
            else:
                found.append(buffer[start:stop])
            at = stop
        self._rest = buffer[at:]
        self.frames += len(found)
        return found

    def count(self, received: bytes) -> int:
        """How many messages begin in what has come, without looking into them."""
        buffer = self._rest + received if self._rest else received
        at, end, frames = self._skip, len(buffer), 0
        while at + 10 <= end or _payload_start(buffer, at, end) is not None:
            length = buffer[at + 1]
            if buffer[at] & 0x08:
                if at + 2 + length > end:
                    break  # a control frame is kept whole: a ping wants its payload back
                self.controls.append((buffer[at], buffer[at + 2 : at + 2 + length]))
                at += 2 + length
                continue
            frames += 1
            if length < 126:
                at += 2 + length
            elif length == 126:
                at += 4 + (buffer[at + 2] << 8 | buffer[at + 3])
            else:
                at += 10 + int.from_bytes(buffer[at + 2 : at + 10], "big")
        self._rest = buffer[at:]
        self._skip = at - end if at > end else 0
        self.frames += frames
        return frames


def _payload_start(buffer: bytes, at: int, end: int) -> int | None:
    """Where the payload of the frame at `at` begins; `None` while its head is not there."""
    if at + 2 > end:
        return None
    length = buffer[at + 1]
    start = at + (2 if length < 126 else 4 if length == 126 else 10)
    return start if start <= end else None


def _length(buffer: bytes, at: int) -> int:
    length = buffer[at + 1]
    if length < 126:
        return length
    return int.from_bytes(buffer[at + 2 : at + (4 if length == 126 else 10)], "big")
