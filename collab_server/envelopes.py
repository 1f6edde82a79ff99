"""The bytes of an envelope between two tasks, with an optional signature. Pure.

Layout, version 1: version (1 byte), kind (1), flags (1), origin length (1), origin (UTF-8), document id (16 bytes, when
flag 1 is set), body, HMAC-SHA256 of all of it (32 bytes, when flag 2 is set).
Whoever can reach Redis can publish (T21), so decoding trusts nothing: with a key every unsigned or wrongly signed
envelope is refused. The signature covers kind, document and origin, so no envelope can be moved to another room. It
does not stop a replay: updates and awareness are safe to receive twice, control bodies must be. It must never raise
anything but MalformedEnvelope on foreign bytes. Called by the bus adapters.
"""

from __future__ import annotations

import hmac
from uuid import UUID

from collab_server.bus import Envelope, EnvelopeKind

VERSION = 1
SPEAKS = frozenset({VERSION})
"""The versions this code reads."""
_HEADER_BYTES = 4
_DOCUMENT_ID_BYTES = 16
_SIGNATURE_BYTES = 32
_HAS_DOCUMENT = 1
_SIGNED = 2

_CODES = {kind: code for code, kind in enumerate(EnvelopeKind, start=1)}
_KINDS = {code: kind for kind, code in _CODES.items()}


class MalformedEnvelope(Exception):
    """Bytes that are no envelope of ours. `reason` is a slug for metrics: it repeats nothing of the bytes."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def encode(envelope: Envelope, key: bytes | None = None) -> bytes:
    """The envelope as bytes, signed when there is a key."""
    document_id = envelope.document_id
    flags = (_HAS_DOCUMENT if document_id is not None else 0) | (_SIGNED if key is not None else 0)
    origin = envelope.origin.encode()
    wire = b"".join(
        (
            bytes((VERSION, _CODES[envelope.kind], flags, len(origin))),
            origin,
            document_id.bytes if document_id is not None else b"",
            envelope.body,
        )
    )
    return wire if key is None else wire + hmac.digest(key, wire, "sha256")


def decode(wire: bytes, key: bytes | None = None) -> Envelope:
    """The envelope in `wire`. Raises MalformedEnvelope for anything `encode` with the same key would not have made."""
    if len(wire) < _HEADER_BYTES:
        raise MalformedEnvelope("truncated")
    version, code, flags, origin_bytes = wire[:_HEADER_BYTES]
    if version != VERSION:
        raise MalformedEnvelope("version")
    if code not in _KINDS or flags > (_HAS_DOCUMENT | _SIGNED):
        raise MalformedEnvelope("kind")
    end = _check_signature(wire, key) if flags & _SIGNED or key is not None else len(wire)
    body_at = _HEADER_BYTES + origin_bytes + (_DOCUMENT_ID_BYTES if flags & _HAS_DOCUMENT else 0)
    if body_at > end:
        raise MalformedEnvelope("truncated")
    try:
        return Envelope(
            kind=_KINDS[code],
            document_id=UUID(bytes=wire[body_at - _DOCUMENT_ID_BYTES : body_at]) if flags & _HAS_DOCUMENT else None,
            origin=wire[_HEADER_BYTES : _HEADER_BYTES + origin_bytes].decode(),
            body=wire[body_at:end],
        )
    except ValueError:
        raise MalformedEnvelope("content") from None


def came_from(wire: bytes, origin: bytes) -> bool:
    """Whether `wire` says that `origin` (UTF-8 task id) sent it: the cheap look before `decode`, and no proof of it.

    Redis returns every envelope to its publisher as well; this skips them without computing a signature.
    """
    return wire[3:4] == bytes((len(origin),)) and wire.startswith(origin, _HEADER_BYTES)


def _check_signature(wire: bytes, key: bytes | None) -> int:
    """Where the signature begins; raises MalformedEnvelope when it is missing, wrong or cannot be checked."""
    end = len(wire) - _SIGNATURE_BYTES
    if key is None or end < _HEADER_BYTES or not wire[2] & _SIGNED:
        raise MalformedEnvelope("signature")
    if not hmac.compare_digest(hmac.digest(key, wire[:end], "sha256"), wire[end:]):
        raise MalformedEnvelope("signature")
    return end
