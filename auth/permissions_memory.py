"""Grants in a dict: for one process alone, such as tests and embedded use.

Never shared between processes. Called through the `Permissions` port by whoever the assembly gave it to.
"""

from collections.abc import Collection, Mapping

from auth.permissions import Pair, Role, Standing, check_storable


class MemoryPermissions:
    """Grants by (subject, document)."""

    def __init__(self, grants: Mapping[Pair, Role] | None = None) -> None:
        self._grants = dict(grants or {})
        self._revoked_before: dict[str, float] = {}

    async def standings_of(self, pairs: Collection[Pair]) -> Mapping[Pair, Standing]:
        return {pair: Standing(self._grants.get(pair), self._revoked_before.get(pair[0])) for pair in pairs}

    async def set_role(self, subject: str, document: str, role: Role | None) -> Role | None:
        check_storable(subject, document)
        before = self._grants.pop((subject, document), None)
        if role is not None:
            self._grants[subject, document] = role
        return before

    async def revoke_tokens(self, subject: str, before: float) -> None:
        check_storable(subject)
        self._revoked_before[subject] = max(before, self._revoked_before.get(subject, before))

    async def close(self) -> None:
        """Nothing is held open."""
