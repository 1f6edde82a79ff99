"""A token that was revoked proves nothing any more, as long as that can be known."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import pytest

from auth.identity import Identity, TokenRefused
from auth.permissions import Pair, PermissionsUnavailable, Standing
from auth.permissions_memory import MemoryPermissions
from auth.revocable import RevocableAuthenticator

ADA = Identity("ada", "Ada", issued_at=100.0)


class Everyone:
    """Takes every token for Ada's."""

    async def authenticate(self, token: str | None, *, now: float) -> Identity:
        return ADA

    async def close(self) -> None:
        """Nothing is held open."""


class Away(MemoryPermissions):
    async def standings_of(self, pairs: Collection[Pair]) -> Mapping[Pair, Standing]:
        raise PermissionsUnavailable("away")


async def test_a_token_is_refused_once_it_is_revoked() -> None:
    permissions = MemoryPermissions()
    authenticator = RevocableAuthenticator(Everyone(), permissions)
    assert await authenticator.authenticate("any", now=200.0) is ADA
    await permissions.revoke_tokens("bob", 150.0)
    await permissions.revoke_tokens("ada", 100.0)
    assert await authenticator.authenticate("any", now=200.0) is ADA
    await permissions.revoke_tokens("ada", 101.0)
    with pytest.raises(TokenRefused, match="token revoked"):
        await authenticator.authenticate("any", now=200.0)
    await authenticator.close()


async def test_while_that_cannot_be_known_it_counts_as_it_is() -> None:
    assert await RevocableAuthenticator(Everyone(), Away()).authenticate("any", now=200.0) is ADA
