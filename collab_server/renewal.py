"""A seated client brings a newer token, so that its seat does not end with the one it came with.

The new token must be good for the same subject and document, as at the door; then the seat goes on as that identity
until that token ends, in the role it has now. Anything else leaves the seat as it was and says why. Never logs a token.
One at a time for each seat; seats whose tokens end together are looked up together, or a change of rights would wait
behind each of them. Owned by `server`, begun by members.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from auth.identity import Identity, TokenRefused
from auth.permissions import Permissions, PermissionsUnavailable, Standing
from auth.tokens import Authenticator
from collab_server.admission import end_of, judged
from collab_server.errors import Close, Refused
from collab_server.rights import Place, Rights, Seated
from collab_server.rooms.member import Member
from collab_server.tasks import Tasks
from collab_server.telemetry import Metrics
from collab_server.wire.messages import PermissionDenied, Renewed

SOMEBODY_ELSE = "the token is somebody else's"
UNKNOWN = "the token cannot be checked now: try again"
MOST_A_LOOK = 1_000


@dataclass(eq=False, slots=True)
class _Verified:
    """A token that is good, for a seat whose rights are to be looked up; `denied` says why it is not renewed."""

    place: Place
    seat: Seated
    member: Member
    identity: Identity
    ends_at: float | None
    is_settled: bool = False
    denied: str | None = None

    @property
    def pair(self) -> tuple[str, str]:
        return self.identity.subject, self.member.room.document.name


class Renewals:
    """See the module."""

    def __init__(
        self, authenticator: Authenticator, permissions: Permissions, rights: Rights, metrics: Metrics
    ) -> None:
        self._authenticator = authenticator
        self._permissions = permissions
        self._rights = rights
        self._metrics = metrics
        self._under_way: set[Member] = set()
        self._waiting: list[_Verified] = []

    def begin(self, place: Place, tasks: Tasks, seat: Seated, token: str, now: float) -> None:
        """Check `token` for the one who sits at `seat`, and answer there; `now` is Unix seconds. Raises `Refused`."""
        member = seat.member
        if member is None:
            return
        if member in self._under_way:
            raise Refused(Close.TOO_FREQUENT, "one renewal at a time")
        self._under_way.add(member)
        tasks.start(self._renew(place, seat, member, token, now), "renew")

    async def _renew(self, place: Place, seat: Seated, member: Member, token: str, now: float) -> None:
        try:
            denied = await self._take_over(place, seat, member, token, now)
        except TokenRefused as refused:
            denied = f"the token was not accepted: {refused.reason}"
        finally:
            self._under_way.discard(member)
        self._metrics.renewals["renewed" if denied is None else "denied"].inc()
        if seat.member is member:
            if denied is not None:
                member.send(PermissionDenied(denied))
            member.send(Renewed(0 if member.ends_at is None else math.floor(member.ends_at)))

    async def _take_over(self, place: Place, seat: Seated, member: Member, token: str, now: float) -> str | None:
        identity = await self._authenticator.authenticate(token, now=now)
        if identity.subject != member.identity.subject:
            return SOMEBODY_ELSE
        # A bound is the seat's: whoever was let in for reading does not get more by a token of their own.
        identity = replace(identity, at_most=member.identity.at_most)
        verified = _Verified(place, seat, member, identity, end_of(identity, now))
        self._waiting.append(verified)
        async with self._rights.looking:
            while not verified.is_settled:  # who comes first settles what waits behind it
                await self._settle_some()
        return verified.denied

    async def _settle_some(self) -> None:
        some, self._waiting = self._waiting[:MOST_A_LOOK], self._waiting[MOST_A_LOOK:]
        try:
            standings = await self._permissions.standings_of({each.pair for each in some})
            for each in some:
                self._settle(each, standings[each.pair])
        except PermissionsUnavailable:
            for each in some:
                each.denied = UNKNOWN
        finally:
            for each in some:
                each.is_settled = True

    def _settle(self, each: _Verified, standing: Standing) -> None:
        try:
            role = judged(each.identity, standing, each.member.room.document.name)
        except Refused as refused:
            each.denied = refused.detail
            return
        if each.seat.member is each.member:
            each.member.ends_at = each.ends_at
            self._rights.reseat(each.place, each.seat, each.member, each.identity, role)
