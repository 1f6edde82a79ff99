"""The person behind a connection, as far as a verified token says, and the ways a token is turned away.

Never built from anything a client merely claims. Called by every authenticator here; read by admission, rooms and
presence.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from auth.permissions import Role


@dataclass(frozen=True, slots=True)
class Identity:
    """One verified caller.

    subject: the stable id the issuer gives, 1-128 printable characters; what grants are stored under.
    name: what other people are shown, 1-128 characters without control or direction-changing characters.
    groups: the issuer's groups, such as "admin".
    expires_at: the token's own `exp` in unix seconds, without leeway; None never expires.
    grants: roles the token itself carries, by document name, "*" for every document. Empty for Cognito.
    issued_at: the token's own `iat` in unix seconds; None when it does not say.
    at_most: no more than this role, whatever is granted; None is no bound.
    """

    subject: str
    name: str
    groups: frozenset[str] = frozenset()
    expires_at: float | None = None
    grants: Mapping[str, Role] = field(default_factory=dict)
    issued_at: float | None = None
    at_most: Role | None = None


class TokenRefused(Exception):
    """The token proves nothing. `reason` is one of a few fixed phrases: safe to show, and to count by."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class TokenUncheckable(TokenRefused):
    """Nothing is known to be wrong with the token, but the keys to check it cannot be had now: worth another try."""
