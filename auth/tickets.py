"""Connection tickets: what stands in an address in place of a token, works once, and is worthless a minute later (T08).

Whoever knows the ticket is let in as the identity it was issued for, into one document and with no more than that
identity may do there when it is used. Only a hash of it is kept anywhere. Must never outlive a revocation: the
identity carries when its sign-in was issued, and is judged like a token's. Issued by the facade, through this port or
the private port of the server; redeemed by admission.
"""

import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Any, Protocol

import orjson

from auth.identity import Identity
from auth.permissions import Role, effective_role

GOOD_FOR_S = 60.0
_FORM = re.compile(r"[A-Za-z0-9_-]{43}", re.ASCII)
_VERSION = 1


class TicketsUnavailable(Exception):
    """Tickets can be neither issued nor redeemed now. A ticket that was being redeemed may be used up."""


@dataclass(frozen=True, slots=True)
class Ticket:
    """Who may come in, into which document, and until when (unix seconds) the ticket is good for that."""

    identity: Identity
    document: str
    good_until: float


class Tickets(Protocol):
    """An adapter keeps tickets for all tasks that are to accept them. `now` is unix seconds."""

    async def issue(self, identity: Identity, document: str, *, now: float) -> str:
        """A new ticket, of 256 random bits; it is told nobody else. Raises TicketsUnavailable."""

    async def redeem(self, secret: str, *, now: float) -> Ticket | None:
        """What the ticket was issued for, to the first who asks and to no other; None for anything else.

        Raises TicketsUnavailable.
        """

    async def close(self) -> None:
        """Let go of what the adapter opened itself; may be called twice."""


def new_ticket(identity: Identity, document: str, now: float) -> tuple[str, Ticket]:
    """A secret and what it stands for. Of the grants a token carries only that for `document` is taken over."""
    granted = effective_role(identity.grants, None, document)
    narrowed = replace(identity, grants={} if granted is None else {document: granted})
    return secrets.token_urlsafe(32), Ticket(narrowed, document, now + GOOD_FOR_S)


def digest_of(secret: str) -> str | None:
    """Under which name a ticket is kept; None for what cannot be one."""
    return sha256(secret.encode()).hexdigest() if _FORM.fullmatch(secret) else None


def usable(ticket: Ticket, now: float) -> bool:
    """Whether neither the ticket nor the seat it is for has ended."""
    ends_at = ticket.identity.expires_at
    return now < ticket.good_until and (ends_at is None or now < ends_at)


def encode(ticket: Ticket) -> bytes:
    """As JSON, for a store."""
    identity = ticket.identity
    return orjson.dumps(
        {
            "version": _VERSION,
            "document": ticket.document,
            "good_until": ticket.good_until,
            "subject": identity.subject,
            "name": identity.name,
            "groups": sorted(identity.groups),
            "expires_at": identity.expires_at,
            "issued_at": identity.issued_at,
            "granted": identity.grants.get(ticket.document),
            "at_most": identity.at_most,
        }
    )


def decode(content: bytes) -> Ticket:
    """What `encode` made. Raises ValueError for anything else: others may write to the store."""
    found = orjson.loads(content)
    if not isinstance(found, dict) or found.get("version") != _VERSION:
        raise ValueError("not a ticket of this version")
    document, granted, groups = _text(found, "document"), _role(found, "granted"), found.get("groups")
    good_until = _time(found, "good_until")
    if good_until is None or not isinstance(groups, list) or not all(isinstance(group, str) for group in groups):
        raise ValueError("not a ticket")
    identity = Identity(
        subject=_text(found, "subject"),
        name=_text(found, "name"),
        groups=frozenset(groups),
        expires_at=_time(found, "expires_at"),
        grants={} if granted is None else {document: granted},
        issued_at=_time(found, "issued_at"),
        at_most=_role(found, "at_most"),
    )
    return Ticket(identity, document, good_until)


def _text(found: Mapping[str, Any], key: str) -> str:
    value = found.get(key)
    if not isinstance(value, str) or not value:
        raise ValueError(f"{key} is no text")
    return value


def _time(found: Mapping[str, Any], key: str) -> float | None:
    value = found.get(key)
    if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
        raise ValueError(f"{key} is no time")
    return value


def _role(found: Mapping[str, Any], key: str) -> Role | None:
    value = found.get(key)
    return None if value is None else Role(value)
