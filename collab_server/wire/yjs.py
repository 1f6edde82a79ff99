"""The y-websocket dialect: one message a frame, binary only. An adapter of `wire.dialect`.

Lenient in one place: a query for awareness may carry trailing bytes, because y-sweet's client sends a body there. All
else is consumed whole or refused. Pure. Called by `member` and `room`.

Source: y-websocket y-websocket.js (message types), y-protocols sync.js and auth.js (sub-types). `Durable` (121),
`Renew` (122) and `Renewed` (123) are our own and go only to clients that asked, by the subprotocol `yjs.ack` or by
renewing: stock ones would log an error.
"""

from __future__ import annotations

from collab_server.wire.awareness import AwarenessLimits, decode_entries, encode_entries
from collab_server.wire.lib0 import MalformedMessage, prefixed, read_bytes, read_string, read_varuint, varuint
from collab_server.wire.messages import (
    Awareness,
    Durable,
    Message,
    PermissionDenied,
    QueryAwareness,
    Renew,
    Renewed,
    SyncStep1,
    SyncStep2,
    Update,
)

_SYNC, _AWARENESS, _AUTH, _QUERY_AWARENESS = range(4)
_DURABLE, _RENEW, _RENEWED = 121, 122, 123
_SYNC_STEP_1, _SYNC_STEP_2, _UPDATE = range(3)
_PERMISSION_DENIED = 0

_SYNC_STEP_1_HEAD = bytes((_SYNC, _SYNC_STEP_1))
_SYNC_STEP_2_HEAD = bytes((_SYNC, _SYNC_STEP_2))
_UPDATE_HEAD = bytes((_SYNC, _UPDATE))
_AWARENESS_HEAD = bytes((_AWARENESS,))
_PERMISSION_DENIED_HEAD = bytes((_AUTH, _PERMISSION_DENIED))
_QUERY_AWARENESS_FRAME = bytes((_QUERY_AWARENESS,))

# Typing makes updates of 10 to 30 bytes: what stands before them is looked up, not built.
_SHORT_UPDATE_HEADS = tuple(_UPDATE_HEAD + varuint(length) for length in range(0x80))


def decode(frame: bytes, limits: AwarenessLimits) -> Message:
    """The message in `frame`, all of it consumed. Raises `MalformedMessage`."""
    if not frame:
        raise MalformedMessage("empty")
    # Types below 128 are one byte: a type in a longer form is one that no client sends.
    kind = frame[0]
    if kind == _SYNC:
        return _decode_sync(frame)
    if kind == _AWARENESS:
        body, end = read_bytes(frame, 1)
        _expect_end(frame, end)
        return Awareness(decode_entries(body, limits))
    if kind == _QUERY_AWARENESS:
        return QueryAwareness()
    if kind == _AUTH:
        return _decode_auth(frame)
    if kind == _DURABLE:
        messages, end = read_varuint(frame, 1)
        _expect_end(frame, end)
        return Durable(messages)
    if kind == _RENEW:
        token, end = read_string(frame, 1)
        _expect_end(frame, end)
        return Renew(token)
    if kind == _RENEWED:
        ends_at, end = read_varuint(frame, 1)
        _expect_end(frame, end)
        return Renewed(ends_at)
    raise MalformedMessage("unknown_type")


def short_update(frame: bytes) -> bytes | None:
    """The update in `frame` when that is an `Update` of less than 128 bytes, else None: what `decode` says, sooner."""
    # From 0x80 on the third byte is only the first of a longer length.
    if frame.startswith(_UPDATE_HEAD) and 2 < len(frame) == frame[2] + 3 < 0x83:
        return frame[3:]
    return None


def _decode_sync(frame: bytes) -> SyncStep1 | SyncStep2 | Update:
    if len(frame) < 3:
        raise MalformedMessage("truncated")
    body, end = read_bytes(frame, 2)
    _expect_end(frame, end)
    step = frame[1]
    if step == _UPDATE:
        return Update(body)
    if step == _SYNC_STEP_2:
        return SyncStep2(body)
    if step == _SYNC_STEP_1:
        return SyncStep1(body)
    raise MalformedMessage("unknown_type")


def _decode_auth(frame: bytes) -> PermissionDenied:
    if len(frame) < 3:
        raise MalformedMessage("truncated")
    if frame[1] != _PERMISSION_DENIED:
        raise MalformedMessage("unknown_type")
    reason, end = read_string(frame, 2)
    _expect_end(frame, end)
    return PermissionDenied(reason)


def _expect_end(frame: bytes, end: int) -> None:
    if end != len(frame):
        raise MalformedMessage("trailing")


def encode(message: Message) -> bytes:
    """The payload that carries `message`."""
    match message:
        case Update(update):
            return encode_update(update)
        case SyncStep2(update):
            return _SYNC_STEP_2_HEAD + prefixed(update)
        case SyncStep1(state_vector):
            return _SYNC_STEP_1_HEAD + prefixed(state_vector)
        case Awareness(entries):
            return _AWARENESS_HEAD + prefixed(encode_entries(entries))
        case QueryAwareness():
            return _QUERY_AWARENESS_FRAME
        case Durable(messages):
            return bytes((_DURABLE,)) + varuint(messages)
        case Renew(token):
            return bytes((_RENEW,)) + prefixed(token.encode())
        case Renewed(ends_at):
            return bytes((_RENEWED,)) + varuint(ends_at)
        case PermissionDenied(reason):
            return _PERMISSION_DENIED_HEAD + prefixed(reason.encode())


def encode_update(update: bytes) -> bytes:
    """The payload that relays `update`: the same as `encode(Update(update))`, and the hot path."""
    length = len(update)
    head = _SHORT_UPDATE_HEADS[length] if length < 0x80 else _UPDATE_HEAD + varuint(length)
    return head + update
