"""From an opening request to a seat: document name, origin, token, identity, role, document - in this order.

What can be refused without a look-up is refused without one, and nothing about a document is told to someone without a
grant: a stranger hears "forbidden" whether or not it exists. Never logs a token. Called by `server` for each
connection.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TypeVar
from urllib.parse import parse_qs, unquote

from auth.identity import Identity, TokenRefused, TokenUncheckable
from auth.permissions import Action, Pair, Permissions, PermissionsUnavailable, Role, Standing, permits
from auth.standing import is_revoked, role_now
from auth.tickets import Tickets, TicketsUnavailable
from auth.tokens import Authenticator
from collab_server.errors import Close, Refused
from collab_server.gathered import Gathered
from collab_server.rooms.acknowledgements import Acknowledge
from persistence.catalog import Catalog, Document

ENDPOINT = "/ws/"
DOCUMENT_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,127}", re.ASCII)
BEARER_SUBPROTOCOL = "bearer."
LEEWAY_S = 30.0  # clock skew that authenticators forgive
REVOKED = "sign in again: this sign-in was revoked"
SUBPROTOCOL = "yjs"  # what is agreed on when a client offers its token as a second subprotocol
ACK_SUBPROTOCOL = "yjs.ack"  # the same, and the client understands our own acknowledgement


STANDINGS_A_QUERY = 1_000  # takes 10 ms
DOCUMENTS_AT_ONCE = 20  # one query each, on connections of one pool

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Opening:
    """What an opening request asks for. Its secrets, `token` and `ticket`, are in no representation of this object."""

    document: str
    origin: str | None
    token: str | None
    acknowledge: Acknowledge = Acknowledge.NOTHING
    epoch: int | None = None
    ticket: str | None = None

    def __repr__(self) -> str:
        return f"Opening({self.document!r}, origin={self.origin!r})"


@dataclass(frozen=True, slots=True)
class Seat:
    """What was granted: who, on which document, as what, and until when (Unix seconds, None for ever).

    A token that is accepted within the leeway for clock skew is good for that leeway; any other ends when it says.
    """

    identity: Identity
    role: Role
    document: Document
    ends_at: float | None


def read_opening(target: str, headers: Mapping[str, str]) -> Opening:
    """The opening in a request target and its headers. Raises `Refused` for a path or name that cannot be meant.

    A ticket in `?ticket=` goes before any token. A token is taken from the `Authorization` header, else from
    `Sec-WebSocket-Protocol: yjs, bearer.<token>` (browsers can set that), else from `?token=` (all that a stock
    y-websocket client can set).
    """
    path, _, query = target.partition("?")
    name = unquote(path.removeprefix(ENDPOINT))
    if not path.startswith(ENDPOINT) or not DOCUMENT_NAME.fullmatch(name):
        raise Refused(Close.NOT_FOUND, f"connect to {ENDPOINT}{{document}}: letters, digits and . _ : - (at most 128)")
    offered = [part.strip() for part in headers.get("Sec-WebSocket-Protocol", "").split(",")]
    parameters = parse_qs(query)
    return Opening(
        document=name,
        origin=headers.get("Origin"),
        token=_bearer(headers) or _offered_token(offered) or parameters.get("token", [None])[0],
        acknowledge=_acknowledge(offered, parameters.get("ack", [""])[0]),
        epoch=_epoch(parameters.get("epoch", [""])[0]),
        ticket=parameters.get("ticket", [None])[0],
    )


def _epoch(parameter: str) -> int | None:
    """The history its copy is of, for a client that knows it; nonsense says nothing."""
    return int(parameter) if re.fullmatch(r"[0-9]{1,9}", parameter) else None


def _acknowledge(offered: list[str], parameter: str) -> Acknowledge:
    """Our own message for those that know it; `?ack=1` is what a stock client can ask for."""
    if ACK_SUBPROTOCOL in offered:
        return Acknowledge.COUNT
    return Acknowledge.ECHO if parameter == "1" else Acknowledge.NOTHING


def _bearer(headers: Mapping[str, str]) -> str | None:
    scheme, _, token = headers.get("Authorization", "").partition(" ")
    return token.strip() or None if scheme.lower() == "bearer" else None


def _offered_token(offered: list[str]) -> str | None:
    for part in offered:
        if part.startswith(BEARER_SUBPROTOCOL):
            return part.removeprefix(BEARER_SUBPROTOCOL)
    return None


class Admission:
    """Decides who gets a seat. `allowed_origins` are compared exactly; requests without an origin are no browser's."""

    def __init__(
        self,
        authenticator: Authenticator,
        permissions: Permissions,
        tickets: Tickets,
        catalog: Catalog,
        allowed_origins: frozenset[str],
    ) -> None:
        self._authenticator = authenticator
        self._tickets = tickets
        self._standings = Gathered[Pair, Standing](permissions.standings_of, STANDINGS_A_QUERY)
        self._existing = Gathered[str, Document | None](partial(_each, catalog.find), DOCUMENTS_AT_ONCE)
        self._made = Gathered[str, Document](partial(_each, catalog.find_or_create), DOCUMENTS_AT_ONCE)
        self._allowed_origins = allowed_origins

    def check_origin(self, opening: Opening) -> None:
        """Raises `Refused` for a page of another site (T01)."""
        if opening.origin is not None and opening.origin not in self._allowed_origins:
            raise Refused(Close.FORBIDDEN, "this origin may not connect: add it to COLLAB_ALLOWED_ORIGINS")

    async def admit(
        self, opening: Opening, now: float, *, check: Callable[[Identity], None] = lambda _identity: None
    ) -> Seat:
        """The seat for `opening`; `now` is Unix seconds. Raises `Refused`, or what a port raises when away.

        `check` may refuse someone whose name is known, before anything else is looked up.
        """
        identity = await self._identity(opening, now)
        check(identity)
        role = judged(identity, await self._standing(identity.subject, opening.document), opening.document)
        document = await self._document(opening.document, role)
        if opening.epoch is not None and opening.epoch < document.epoch:
            raise Refused(Close.HISTORY_REPLACED)
        return Seat(identity, role, document, end_of(identity, now))

    async def _identity(self, opening: Opening, now: float) -> Identity:
        try:
            if opening.ticket is not None:
                return await self._ticket_holder(opening.ticket, opening.document, now)
            return await self._authenticator.authenticate(opening.token, now=now)
        except (TokenUncheckable, TicketsUnavailable):
            raise Refused(Close.RIGHTS_UNKNOWN) from None
        except TokenRefused as error:
            raise Refused(Close.UNAUTHORIZED, f"sign in again: {error.reason}") from None

    async def _ticket_holder(self, secret: str, document: str, now: float) -> Identity:
        """Uses the ticket up, even one for another document."""
        ticket = await self._tickets.redeem(secret, now=now)
        if ticket is None or ticket.document != document:
            raise TokenRefused("the ticket was used, is too old or is for another document")
        return ticket.identity

    async def _standing(self, subject: str, document: str) -> Standing:
        try:
            return await self._standings.ask((subject, document))
        except PermissionsUnavailable:
            raise Refused(Close.RIGHTS_UNKNOWN) from None

    async def _document(self, name: str, role: Role) -> Document:
        """A document comes to be when someone who may write opens it; a reader hears that there is none."""
        if permits(role, Action.WRITE_DOCUMENT):
            return await self._made.ask(name)
        document = await self._existing.ask(name)
        if document is None:
            raise Refused(Close.NOT_FOUND)
        return document


async def _each(find: Callable[[str], Awaitable[T]], names: list[str]) -> dict[str, T]:
    return dict(zip(names, await asyncio.gather(*map(find, names)), strict=True))


def judged(identity: Identity, standing: Standing, document: str) -> Role:
    """The role in which `identity` may have a seat on `document`, as it stands. Raises `Refused` for none."""
    if is_revoked(identity, standing):
        raise Refused(Close.UNAUTHORIZED, REVOKED)
    role = role_now(identity, standing, document)
    if role is None:
        raise Refused(Close.FORBIDDEN)
    return role


def end_of(identity: Identity, now: float) -> float | None:
    """When a seat taken with this token at `now` ends, both in Unix seconds; None: never."""
    if identity.expires_at is None or identity.expires_at > now:
        return identity.expires_at
    return identity.expires_at + LEEWAY_S
