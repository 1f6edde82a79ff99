"""Tickets in a dict: for one process alone, such as tests and embedded use.

Bounded: the oldest are forgotten first. Called through the `Tickets` port by whoever the assembly gave it to.
"""

from auth.identity import Identity
from auth.tickets import Ticket, digest_of, new_ticket, usable

MOST = 10_000


class MemoryTickets:
    """See `Tickets`. They come in the order in which they end, for each is good for as long as any other."""

    def __init__(self) -> None:
        self._tickets: dict[str, Ticket] = {}

    async def issue(self, identity: Identity, document: str, *, now: float) -> str:
        while self._tickets:
            oldest = next(iter(self._tickets))
            if len(self._tickets) < MOST and now < self._tickets[oldest].good_until:
                break
            del self._tickets[oldest]
        secret, ticket = new_ticket(identity, document, now)
        self._tickets[digest_of(secret) or ""] = ticket
        return secret

    async def redeem(self, secret: str, *, now: float) -> Ticket | None:
        digest = digest_of(secret)
        ticket = None if digest is None else self._tickets.pop(digest, None)
        return ticket if ticket is not None and usable(ticket, now) else None

    async def close(self) -> None:
        """Nothing is held open."""
