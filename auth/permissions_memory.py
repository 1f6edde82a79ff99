"""Grants in a dict: for one process alone, such as tests and embedded use.

Never shared between processes. Called through the `Permissions` port by whoever the assembly gave it to.
"""

from collections.abc import Mapping

from auth.permissions import Role


class MemoryPermissions:
    """Grants by (subject, document); they change through `grant` and `revoke`."""

    def __init__(self, grants: Mapping[tuple[str, str], Role] | None = None) -> None:
        self._grants = dict(grants or {})

    def grant(self, subject: str, document: str, role: Role) -> None:
        """Give the subject this role on the document, in place of any other."""
        self._grants[subject, document] = role

    def revoke(self, subject: str, document: str) -> None:
        """Take the subject's role on the document away, if there is one."""
        self._grants.pop((subject, document), None)

    async def role_of(self, subject: str, document: str) -> Role | None:
        return self._grants.get((subject, document))

    async def close(self) -> None:
        """Nothing is held open."""
