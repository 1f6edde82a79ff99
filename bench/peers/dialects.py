"""The two languages of the servers: y-websocket's messages, and the same with a document's name before each.

Builds what a member says and finds the update or awareness in what it hears; nothing else is understood. Pure. Called
by `member` and `load`.
"""

from __future__ import annotations

from enum import Enum, auto

from collab_server.wire.lib0 import prefixed, read_bytes, read_varuint, varuint

_SYNC, _AWARENESS, _AUTH = 0, 1, 2
_STEP_1, _STEP_2, _UPDATE = 0, 1, 2
_AUTH_TOKEN = 0
EMPTY_STATE_VECTOR = b"\x00"
EMPTY_UPDATE = b"\x00\x00"


class Heard(Enum):
    """What a received message is to the benchmark."""

    UPDATE = auto()
    ANSWER = auto()  # to our sync request: the member has joined
    AWARENESS = auto()
    OTHER = auto()


class Dialect:
    """How the members of one document speak. `name_bytes` stands before each message: empty for y-websocket."""

    __slots__ = ("_name",)

    def __init__(self, name_bytes: bytes = b"") -> None:
        self._name = name_bytes

    def update(self, update: bytes) -> bytes:
        """An edit."""
        return self._name + bytes((_SYNC, _UPDATE)) + prefixed(update)

    def awareness(self, entries: bytes) -> bytes:
        """A cursor."""
        return self._name + bytes((_AWARENESS,)) + prefixed(entries)

    def opening(self) -> list[bytes]:
        """What a client with an empty document says first."""
        return [
            self._name + bytes((_SYNC, _STEP_1)) + prefixed(EMPTY_STATE_VECTOR),
            self._name + bytes((_SYNC, _STEP_2)) + prefixed(EMPTY_UPDATE),
        ]

    def read(self, payload: bytes) -> tuple[Heard, bytes]:
        """What a message is, and the update or awareness entries in it."""
        at = len(self._name)
        kind, at = read_varuint(payload, at)
        if kind == _SYNC:
            step, at = read_varuint(payload, at)
            if step == _STEP_1:
                return Heard.OTHER, b""
            body, _end = read_bytes(payload, at)
            return (Heard.ANSWER if step == _STEP_2 else Heard.UPDATE), body
        if kind == _AWARENESS:
            return Heard.AWARENESS, read_bytes(payload, at)[0]
        return Heard.OTHER, b""


class HocuspocusDialect(Dialect):
    """Messages that name their document. A token opens it; Hocuspocus waits for one even where it asks for none."""

    __slots__ = ()

    def __init__(self, document: str) -> None:
        super().__init__(prefixed(document.encode()))

    def opening(self) -> list[bytes]:
        """The token, and then as ever."""
        return [self._name + bytes((_AUTH, _AUTH_TOKEN)) + prefixed(b"none"), *super().opening()]


def awareness_entry(client: int, clock: int, state: bytes) -> bytes:
    """One client's state as an awareness body."""
    return b"\x01" + varuint(client) + varuint(clock) + prefixed(state)


def awareness_clocks(entries: bytes) -> list[tuple[int, int]]:
    """Client and clock of every entry."""
    count, at = read_varuint(entries, 0)
    found = []
    for _ in range(count):
        client, at = read_varuint(entries, at)
        clock, at = read_varuint(entries, at)
        _state, at = read_bytes(entries, at)
        found.append((client, clock))
    return found
