"""Connection tickets on the private port: for the facade, which knows who somebody is and wants them let in (T08).

Whoever may ask can have a ticket for anybody: an operator, or a program with the internal key. A ticket gives no right:
what its subject may do is looked up when it is used. Never logs a ticket or the key. Part of `admin`.
"""

from __future__ import annotations

import hmac
import time
from collections.abc import Callable, Mapping
from typing import Any

from pydantic import SecretStr
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from auth.identity import Identity
from auth.permissions import Role
from auth.tickets import GOOD_FOR_S, Tickets, TicketsUnavailable
from collab_server.admin_answers import BadRequest, Endpoint, Guard, answered, content_of, json_answer
from collab_server.rights_admin import document_name, subject_id

SEAT_S = 3_600.0
"""How long a seat lasts whose ticket does not say; never longer than a day."""
LONGEST_SEAT_S = 86_400.0
SCHEME = "internal"


class AdminTickets:
    """`POST /tickets`. `internal_key` None: operators only."""

    def __init__(
        self,
        tickets: Tickets,
        internal_key: SecretStr | None,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._tickets = tickets
        self._internal_key = "" if internal_key is None else internal_key.get_secret_value()
        self._wall_clock = wall_clock

    def routes(self, guard: Guard) -> list[Route]:
        """The path, behind `guard` for whoever comes without the key. Only what operators ask for is audited."""
        issue = answered(self._issue)
        return [Route("/tickets", self._keyed(issue, guard(issue)), methods=["POST"])]

    def _keyed(self, endpoint: Endpoint, guarded: Endpoint) -> Endpoint:
        async def admitted(request: Request) -> Response:
            scheme, _, key = request.headers.get("authorization", "").partition(" ")
            known = self._internal_key
            if known and scheme.lower() == SCHEME and hmac.compare_digest(key.strip().encode(), known.encode()):
                return await endpoint(request)
            return await guarded(request)

        return admitted

    async def _issue(self, request: Request) -> Response:
        now, content = self._wall_clock(), await content_of(request)
        document = document_name(content.get("document"))
        identity = _identity_in(content, document, now)
        try:
            ticket = await self._tickets.issue(identity, document, now=now)
        except TicketsUnavailable:
            return json_answer({"error": "tickets cannot be kept now: try again"}, 503)
        return json_answer({"ticket": ticket, "good_for_s": GOOD_FOR_S, "ends_at": identity.expires_at}, 201)


def _identity_in(content: Mapping[str, Any], document: str, now: float) -> Identity:
    """Who is to be let in. Raises BadRequest."""
    subject = subject_id(content.get("subject"))
    granted, groups = _role(content, "granted"), content.get("groups", [])
    if not isinstance(groups, list) or not all(isinstance(group, str) for group in groups):
        raise BadRequest("groups is a list of names")
    return Identity(
        subject=subject,
        name=subject_id(content.get("name", subject)),
        groups=frozenset(groups),
        expires_at=_time(content, "ends_at", now + SEAT_S, earliest=now, latest=now + LONGEST_SEAT_S),
        grants={} if granted is None else {document: granted},
        issued_at=_time(content, "issued_at", now, earliest=0.0, latest=now),
        at_most=_role(content, "at_most"),
    )


def _role(content: Mapping[str, Any], key: str) -> Role | None:
    value = content.get(key)
    try:
        return None if value is None else Role(value)
    except ValueError:
        raise BadRequest(f"{key} is one of {', '.join(Role)}") from None


def _time(content: Mapping[str, Any], key: str, usual: float, *, earliest: float, latest: float) -> float:
    value = content.get(key, usual)
    if isinstance(value, bool) or not isinstance(value, int | float) or not earliest <= value <= latest:
        raise BadRequest(f"{key} is a time in Unix seconds, from {earliest:.0f} to {latest:.0f}")
    return float(value)
