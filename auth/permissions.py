"""Roles, actions and the one matrix that joins them, for frames and for REST routes alike (R012, R059).

Pure, and closed by default: what the matrix does not name is refused. Called by admission, rooms and the facade for
every message and request; must never look anything up by itself, stored grants come through the `Permissions` port.
"""

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Protocol

EVERY_DOCUMENT = "*"  # no document can have this name: names start with a letter or a digit


class Role(StrEnum):
    """What a person is to one document."""

    OWNER = "owner"
    EDITOR = "editor"
    COMMENTER = "commenter"
    VIEWER = "viewer"


class Action(StrEnum):
    """What a member of a room can try to do."""

    READ_DOCUMENT = "read_document"
    WRITE_DOCUMENT = "write_document"
    SEE_PRESENCE = "see_presence"
    SHARE_PRESENCE = "share_presence"


_READER = frozenset({Action.READ_DOCUMENT, Action.SEE_PRESENCE, Action.SHARE_PRESENCE})
_WRITER = _READER | {Action.WRITE_DOCUMENT}

MATRIX: Mapping[Role, frozenset[Action]] = MappingProxyType(
    {
        Role.OWNER: _WRITER,
        Role.EDITOR: _WRITER,
        Role.COMMENTER: _READER,  # comments are the facade's; the text itself stays closed
        Role.VIEWER: _READER,
    }
)


def permits(role: Role, action: Action) -> bool:
    """Whether the matrix names this pair; anything unknown is refused."""
    return action in MATRIX.get(role, frozenset())


def effective_role(identity_grants: Mapping[str, Role], stored: Role | None, document: str) -> Role | None:
    """The role that counts for `document`: the token's own grant for it, else its "*" grant, else the stored one.

    A token's grant wins even when it is the smaller one, so a link for viewing stays a link for viewing.
    """
    return identity_grants.get(document) or identity_grants.get(EVERY_DOCUMENT) or stored


class PermissionsUnavailable(Exception):
    """The grants cannot be read now. Says nothing about the caller: ask again, and let nobody in meanwhile."""


class Permissions(Protocol):
    """Stored grants. An adapter answers with what was committed last: it keeps no copy that could outlive a removal."""

    async def role_of(self, subject: str, document: str) -> Role | None:
        """The role stored for `subject` on the document of that public name; None when there is no grant.

        Names match exactly. A role this version does not know, and a name no store could hold, count as no grant.
        Raises PermissionsUnavailable when the store cannot answer.
        """

    async def close(self) -> None:
        """Let go of what the adapter opened itself; may be called twice."""
