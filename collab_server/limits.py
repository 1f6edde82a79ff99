"""How much one connection may send and how many connections one address or person may hold. Pure: `now` is an argument.

Whoever goes over a limit pays for it alone (promise 4); what that costs is decided by the caller. Must never wait, and
never remember anyone who is gone. Called by the connection for every frame, and by admission for every connection.
"""

from __future__ import annotations

from ipaddress import IPv6Address, ip_address

_IPV6_HOST_BITS = 64
"""One household or phone owns a whole /64 and could use a new address in it for each connection."""


class TokenBucket:
    """Lets `rate_per_s` through for long and `burst` at once. It starts full. Seconds are of any monotonic clock."""

    __slots__ = ("_at", "_burst", "_level", "_rate")

    def __init__(self, rate_per_s: float, burst: float) -> None:
        self._rate = rate_per_s
        self._burst = burst
        self._level = burst
        self._at = 0.0

    def take(self, amount: float, now: float) -> bool:
        """Whether `amount` may pass now; a refusal takes nothing. More than `burst` never passes."""
        elapsed = now - self._at
        level = self._level
        if elapsed > 0.0:  # a clock that stands still or steps back refills nothing
            level += elapsed * self._rate
            if level > self._burst:
                level = self._burst
            self._at = now
        if amount > level:
            self._level = level
            return False
        self._level = level - amount
        return True

    def give(self, amount: float) -> None:
        """Put `amount` back, never above `burst`."""
        self._level = min(self._burst, self._level + amount)


REPEAT_SHARE = 0.05
"""What a message that told nothing new costs of its price. Stock clients send back every cursor they see, so in a
room of 40 people with 5 moves a second each an honest one repeats 200 messages a second; a flood of them is still a
flood."""


VAGUE_SHARE = 1 / 16
"""Of a document's hard bound: an encode of 32 MiB takes 0.1 s, so not more often than every 2 MiB of updates."""


class ConnectionLimits:
    """What one connection may send: so many messages, and so many bytes."""

    __slots__ = ("_bytes", "_messages")

    def __init__(self, messages_per_s: float, messages_burst: float, bytes_per_s: float, bytes_burst: float) -> None:
        self._messages = TokenBucket(messages_per_s, messages_burst)
        self._bytes = TokenBucket(bytes_per_s, bytes_burst)

    def take(self, size_bytes: int, now: float) -> bool:
        """Whether one message of `size_bytes` may pass now."""
        return self._messages.take(1.0, now) and self._bytes.take(size_bytes, now)

    def give_back(self, size_bytes: int) -> None:
        """The message just taken only repeated what was known: most of its price is returned."""
        self._messages.give(1.0 - REPEAT_SHARE)
        self._bytes.give(size_bytes * (1.0 - REPEAT_SHARE))


class DocumentSize:
    """About how many bytes one document has when encoded, and which bound that reaches.

    Updates encode less well alone than merged, and some delete what others brought, so the estimate errs upwards.
    """

    __slots__ = ("_full", "_large", "_left_when_measured", "_max", "_warn", "left")

    def __init__(self, warn_bytes: int, max_bytes: int) -> None:
        self._warn = warn_bytes
        self._max = max_bytes
        self._large = False
        self._full = False
        self.left = self._left_when_measured = warn_bytes
        """Bytes until the next bound, which whoever applies an update takes its size from: a call would cost more."""

    @property
    def estimate(self) -> int:
        """Bytes, at most."""
        return (self._max if self._large else self._warn) - self.left

    @property
    def is_exact(self) -> bool:
        """Whether nothing came since it was measured."""
        return self.left == self._left_when_measured

    @property
    def is_vague(self) -> bool:
        """Whether a measurement is due before anyone is refused: so much may have been merged away."""
        return self._left_when_measured - self.left > self._max * VAGUE_SHARE

    def measured(self, size_bytes: int) -> None:
        """The encoded document has `size_bytes` now."""
        self.left = self._left_when_measured = (self._max if self._large else self._warn) - size_bytes

    def has_just_become_large(self, size_bytes: int) -> bool:
        """Whether `size_bytes` more pass the soft bound; true once, and from then on the hard bound is the next."""
        if self._large or size_bytes <= self.left:
            return False
        self._large = True
        self.left += self._max - self._warn
        self._left_when_measured += self._max - self._warn
        return True

    def is_too_large(self, size_bytes: int) -> bool:
        """Whether `size_bytes` more pass the hard bound."""
        return self.estimate + size_bytes > self._max

    def has_just_become_full(self) -> bool:
        """True once."""
        was_full, self._full = self._full, True
        return not was_full


class AddressCaps:
    """Live connections per key, at most `cap` each; None is no cap. Keys are addresses (`address_key`) or subjects."""

    __slots__ = ("_cap", "_live")

    def __init__(self, cap: int | None) -> None:
        self._cap = cap
        self._live: dict[str, int] = {}

    def has_room(self, key: str) -> bool:
        """Whether one more may enter."""
        return self._cap is None or self._live.get(key, 0) < self._cap

    def enter(self, key: str) -> bool:
        """Count one more, or refuse and count nothing. Every True is owed one `leave`, a False none."""
        if not self.has_room(key):
            return False
        self._live[key] = self._live.get(key, 0) + 1
        return True

    def leave(self, key: str) -> None:
        """Count one less; a key at zero is forgotten. Raises KeyError for a key that nobody has entered under: a caller
        that counts wrongly must not go unseen."""
        if self._live[key] == 1:
            del self._live[key]
        else:
            self._live[key] -= 1

    def live(self, key: str) -> int:
        return self._live.get(key, 0)

    def __len__(self) -> int:
        """Keys with at least one connection."""
        return len(self._live)


def address_key(address: str) -> str:
    """What connections of one party have in common: an IPv4 address, or the /64 network of an IPv6 one.

    Raises ValueError when `address` is no IP address.
    """
    parsed = ip_address(address)
    if not isinstance(parsed, IPv6Address):
        return str(parsed)
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    network = IPv6Address(int(parsed) >> _IPV6_HOST_BITS << _IPV6_HOST_BITS)
    return f"{network}/{_IPV6_HOST_BITS}"
