"""Tickets in Redis, under a hash of each: SET with an end of its own, GETDEL so that only the first one gets it.

    collab:ticket:SHA-256    who, where, until when, as JSON, behind an HMAC of it and of the key it stands under

Others may write to that Redis; with keys given, what they put there opens nothing. Knows no connection: `call` owns one
and never shares or cancels what is under way on it, so that nobody gets another's ticket. Named by `assembly`.
"""

import hmac
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import structlog

from auth.identity import Identity
from auth.tickets import GOOD_FOR_S, Ticket, TicketsUnavailable, decode, digest_of, encode, new_ticket, usable

Command = tuple[bytes, ...]
Call = Callable[[Sequence[Command]], Awaitable[Sequence[Any]]]
"""Sends commands as one pipeline and returns their answers. Raises ConnectionError, within about a second."""

_MAC_BYTES = 32
_PURPOSE = b"collab ticket 1\0"  # the same keys sign what tasks say to each other
_log = structlog.get_logger(__name__)


class RedisTickets:
    """See `Tickets`. `keys` sign: the first of them new tickets, each of them is accepted; none, and nothing is."""

    def __init__(self, call: Call, *, keys: Sequence[bytes] = (), key_prefix: str = "collab:") -> None:
        self._call = call
        self._keys = tuple(keys)
        self._prefix = f"{key_prefix}ticket:"

    async def issue(self, identity: Identity, document: str, *, now: float) -> str:
        secret, ticket = new_ticket(identity, document, now)
        name, content = self._name(digest_of(secret) or ""), encode(ticket)
        kept = _mac(self._keys[0], name, content) + content if self._keys else content
        await self._ask((b"SET", name, kept, b"EX", b"%d" % GOOD_FOR_S, b"NX"))
        return secret

    async def redeem(self, secret: str, *, now: float) -> Ticket | None:
        digest = digest_of(secret)
        if digest is None:
            return None
        name = self._name(digest)
        kept = await self._ask((b"GETDEL", name))
        ticket = None if kept is None else self._read(name, kept)
        return ticket if ticket is not None and usable(ticket, now) else None

    async def close(self) -> None:
        """The connection is closed by whoever opened it."""

    def _name(self, digest: str) -> bytes:
        return (self._prefix + digest).encode()

    async def _ask(self, command: Command) -> Any:
        try:
            return (await self._call([command]))[0]
        except ConnectionError as failure:
            raise TicketsUnavailable("tickets cannot be kept or found now") from failure

    def _read(self, name: bytes, kept: bytes) -> Ticket | None:
        content = kept
        if self._keys:
            mac, content = kept[:_MAC_BYTES], kept[_MAC_BYTES:]
            if not any(hmac.compare_digest(mac, _mac(key, name, content)) for key in self._keys):
                _log.warning("ticket_forged")
                return None
        try:
            return decode(content)
        except ValueError:
            _log.warning("ticket_malformed")
            return None


def _mac(key: bytes, name: bytes, content: bytes) -> bytes:
    return hmac.digest(key, _PURPOSE + name + b"\0" + content, "sha256")
