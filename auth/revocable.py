"""Tokens that may have been revoked since they were issued: an authenticator around another one that looks (T07).

For whoever asks for nothing but an identity, such as the private port; admission looks up grants and revocations in one
question of its own. While the store is away tokens count as they are, or no operator could see what is wrong; what
operators do is refused then anyway, because it cannot be noted. Named by `assembly`.
"""

import structlog

from auth.identity import Identity, TokenRefused
from auth.permissions import EVERY_DOCUMENT, Permissions, PermissionsUnavailable
from auth.standing import is_revoked
from auth.tokens import Authenticator

_log = structlog.get_logger(__name__)


class RevocableAuthenticator:
    """See the module. It closes neither of the two: whoever made them does."""

    def __init__(self, authenticator: Authenticator, permissions: Permissions) -> None:
        self._authenticator = authenticator
        self._permissions = permissions

    async def authenticate(self, token: str | None, *, now: float) -> Identity:
        identity = await self._authenticator.authenticate(token, now=now)
        pair = identity.subject, EVERY_DOCUMENT
        try:
            standing = (await self._permissions.standings_of([pair]))[pair]
        except PermissionsUnavailable:
            _log.warning("revocations_unknown", subject=identity.subject)
            return identity
        if is_revoked(identity, standing):
            raise TokenRefused("token revoked")
        return identity

    async def close(self) -> None:
        """Nothing is held open here."""
