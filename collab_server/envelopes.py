"""The bytes of envelopes between two tasks, with an optional signature. Pure.

Version 2, a parcel of envelopes for one document: version (1 byte), 0 (1), flags (1), origin length (1), origin
(UTF-8), boot of the origin (8, random), sequence number (8), sent at in ms (8, on the bus's clock; 0: not known),
document id (16) and epoch (4, all ones: not said) when flag 1 is set, then for each envelope its kind (1), length (4)
and body, and HMAC-SHA256 of all before it (32) when flag 2 is set. Numbers are big-endian.
Version 1, one envelope: version, kind, flags, origin length, origin, document id, body, HMAC. Nothing in it tells a
replay from the first time.

Whoever can reach Redis can publish (T21), so decoding trusts nothing: with a key every unsigned or wrongly signed
parcel is refused. The signature covers document, origin and number: none can be moved to another room, and `bus_gate`
tells which were heard before. Kinds of later versions are skipped and counted. It must never raise anything but
MalformedEnvelope on foreign bytes. Called by `bus_gate`.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from struct import Struct
from uuid import UUID

from collab_server.bus import Envelope, EnvelopeKind, check_task_id

VERSION, FIRST_VERSION = 2, 1
SPEAKS = frozenset({FIRST_VERSION, VERSION})
"""The versions this code reads and writes."""
BOOT_BYTES = 8
_HEADER_BYTES = 4
_DOCUMENT_ID_BYTES = 16
_SIGNATURE_BYTES = 32
_BLOCK_BYTES = 64
_HAS_DOCUMENT = 1
_SIGNED = 2
_NO_EPOCH = 0xFFFFFFFF

_STAMP = Struct(">8sQQ")
_DOCUMENT = Struct(">16sI")
_ENTRY = Struct(">BI")

_CODES = {kind: code for code, kind in enumerate(EnvelopeKind, start=1)}
_KINDS = {code: kind for kind, code in _CODES.items()}


class MalformedEnvelope(Exception):
    """Bytes that are no envelope of ours. `reason` is a slug for metrics: it repeats nothing of the bytes."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Stamp:
    """When a parcel was sealed: `boot` names one life of its origin, `sequence` grows by one a parcel from 1 on."""

    boot: bytes
    sequence: int
    sent_at_ms: int


@dataclass(frozen=True, slots=True)
class Parcel:
    """What came in one message. `stamp` is None in version 1; `unknown` envelopes are of kinds this version lacks."""

    stamp: Stamp | None
    origin: str
    document_id: UUID | None
    envelopes: tuple[Envelope, ...]
    unknown: int = 0


def encode(envelopes: Sequence[Envelope], stamp: Stamp, key: bytes | None = None) -> bytes:
    """Envelopes of one origin for one document as a parcel, signed when there is a key."""
    first = envelopes[0]
    document_id, origin = first.document_id, first.origin.encode()
    flags = (_HAS_DOCUMENT if document_id is not None else 0) | (_SIGNED if key is not None else 0)
    parts = [bytes((VERSION, 0, flags, len(origin))), origin, _STAMP.pack(stamp.boot, stamp.sequence, stamp.sent_at_ms)]
    if document_id is not None:
        parts.append(_DOCUMENT.pack(document_id.bytes, _NO_EPOCH if first.epoch is None else first.epoch))
    for envelope in envelopes:
        parts.append(_ENTRY.pack(_CODES[envelope.kind], len(envelope.body)))
        parts.append(envelope.body)
    wire = b"".join(parts)
    return wire if key is None else wire + sign(key, wire)


def encode_first(envelope: Envelope, key: bytes | None = None) -> bytes:
    """The envelope in version 1, which says nothing of its epoch."""
    document_id, origin = envelope.document_id, envelope.origin.encode()
    flags = (_HAS_DOCUMENT if document_id is not None else 0) | (_SIGNED if key is not None else 0)
    head = bytes((FIRST_VERSION, _CODES[envelope.kind], flags, len(origin)))
    wire = b"".join((head, origin, document_id.bytes if document_id is not None else b"", envelope.body))
    return wire if key is None else wire + sign(key, wire)


def decode(wire: bytes, keys: Sequence[bytes] = (), expected: UUID | None = None) -> Parcel:
    """The envelopes in `wire`, signed with one of `keys` when there are any. Raises MalformedEnvelope.

    `expected` is the document they are probably for: only so that no second object is made of its id.
    """
    if len(wire) < _HEADER_BYTES:
        raise MalformedEnvelope("truncated")
    version, second, flags, origin_bytes = wire[:_HEADER_BYTES]
    if version not in SPEAKS:
        raise MalformedEnvelope("version")
    if flags > (_HAS_DOCUMENT | _SIGNED) or (second != 0 if version == VERSION else second not in _KINDS):
        raise MalformedEnvelope("kind")
    end = _check_signature(wire, keys) if flags & _SIGNED or keys else len(wire)
    at = _HEADER_BYTES + origin_bytes
    try:
        origin = wire[_HEADER_BYTES:at].decode()
        if version == VERSION:
            return _decode_parcel(wire, at, end, origin, expected, has_document=bool(flags & _HAS_DOCUMENT))
        body_at = at + (_DOCUMENT_ID_BYTES if flags & _HAS_DOCUMENT else 0)
        if body_at > end:
            raise MalformedEnvelope("truncated")
        document_id = UUID(bytes=wire[at:body_at]) if flags & _HAS_DOCUMENT else None
        only = Envelope(_KINDS[second], document_id, origin, wire[body_at:end])
        return Parcel(None, origin, document_id, (only,))
    except ValueError:
        raise MalformedEnvelope("content") from None


def sign(key: bytes, data: bytes) -> bytes:
    """HMAC-SHA256 (RFC 2104) in half the time of `hmac.digest`, which begins with the key every time."""
    inner, outer = _begun(key)
    inner, outer = inner.copy(), outer.copy()
    inner.update(data)
    outer.update(inner.digest())
    return outer.digest()


@lru_cache(maxsize=8)
def _begun(key: bytes) -> tuple[hashlib._Hash, hashlib._Hash]:
    block = (key if len(key) <= _BLOCK_BYTES else hashlib.sha256(key).digest()).ljust(_BLOCK_BYTES, b"\0")
    return hashlib.sha256(bytes(byte ^ 0x36 for byte in block)), hashlib.sha256(bytes(byte ^ 0x5C for byte in block))


def came_from(wire: bytes, origin: bytes) -> bool:
    """Whether `wire` says that `origin` (UTF-8 task id) sent it: the cheap look before `decode`, and no proof of it.

    Redis returns everything to its publisher as well; this skips it without computing a signature. All versions have
    the origin in the same place.
    """
    return wire[3:4] == bytes((len(origin),)) and wire.startswith(origin, _HEADER_BYTES)


def _decode_parcel(wire: bytes, at: int, end: int, origin: str, expected: UUID | None, *, has_document: bool) -> Parcel:
    """Version 2 from the stamp on. Raises ValueError and MalformedEnvelope."""
    body_at = at + _STAMP.size + (_DOCUMENT.size if has_document else 0)
    if body_at > end:
        raise MalformedEnvelope("truncated")
    check_task_id(origin)
    stamp = Stamp(*_STAMP.unpack_from(wire, at))
    document_id, epoch = None, None
    if has_document:
        document_bytes, said = _DOCUMENT.unpack_from(wire, at + _STAMP.size)
        is_expected = expected is not None and expected.bytes == document_bytes
        document_id, epoch = (
            expected if is_expected else UUID(bytes=document_bytes),
            None if said == _NO_EPOCH else said,
        )
    envelopes, unknown = [], 0
    while body_at < end:
        if body_at + _ENTRY.size > end:
            raise MalformedEnvelope("truncated")
        code, length = _ENTRY.unpack_from(wire, body_at)
        body_at += _ENTRY.size
        if body_at + length > end:
            raise MalformedEnvelope("truncated")
        kind = _KINDS.get(code)
        if kind is None:
            unknown += 1
        else:
            envelopes.append(Envelope(kind, document_id, origin, wire[body_at : body_at + length], epoch))
        body_at += length
    return Parcel(stamp, origin, document_id, tuple(envelopes), unknown)


def _check_signature(wire: bytes, keys: Sequence[bytes]) -> int:
    """Where the signature begins; raises MalformedEnvelope when it is missing, wrong or cannot be checked."""
    end = len(wire) - _SIGNATURE_BYTES
    if end < _HEADER_BYTES or not wire[2] & _SIGNED:
        raise MalformedEnvelope("signature")
    signed, signature = wire[:end], wire[end:]
    for key in keys:
        if hmac.compare_digest(sign(key, signed), signature):
            return end
    raise MalformedEnvelope("signature")
