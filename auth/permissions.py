"""Roles, actions and the one matrix that joins them, for frames and for REST routes alike (R012, R059).

Pure, and closed by default: what the matrix does not name is refused. Called by admission, rooms and the facade for
every message and request; must never look anything up by itself, stored grants come through the `Permissions` port.
What a grant, a token and a revocation make together is in `standing`.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
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


def smaller(one: Role, other: Role) -> Role:
    """The one of two roles that allows less."""
    return max(one, other, key=_BY_POWER.index)


_BY_POWER = tuple(Role)


class PermissionsUnavailable(Exception):
    """The grants cannot be read now. Says nothing about the caller: ask again, and let nobody in meanwhile."""


Pair = tuple[str, str]
"""A subject and the public name of a document."""


@dataclass(frozen=True, slots=True)
class Standing:
    """What is stored about a subject and a document: the granted role, and whether tokens were revoked.

    revoked_before: tokens of the subject that were issued before it (unix seconds) are void, on every document.
    """

    role: Role | None = None
    revoked_before: float | None = None


class Permissions(Protocol):
    """Stored grants and revocations. An adapter keeps no copy that could outlive a removal.

    It answers with what was committed last. Names match exactly. A role this version does not know counts as no grant,
    and so does a name that no store could hold. Each method raises PermissionsUnavailable when the store cannot answer.
    """

    async def standings_of(self, pairs: Collection[Pair]) -> Mapping[Pair, Standing]:
        """How each of `pairs` stands, all of them as of one moment; one question to the store, however many."""

    async def set_role(self, subject: str, document: str, role: Role | None) -> Role | None:
        """Grant `role` in place of any other, None takes the grant away; the role before. Raises ValueError for names
        that no store could hold."""

    async def revoke_tokens(self, subject: str, before: float) -> None:
        """Void the subject's tokens issued before that time (unix seconds); it never moves back. Raises ValueError as
        `set_role`."""

    async def close(self) -> None:
        """Let go of what the adapter opened itself; may be called twice."""


def is_storable(name: str) -> bool:
    """Whether every store can hold it: not empty, no NUL, and encodable as UTF-8."""
    return name != "" and "\0" not in name and not any("\ud800" <= character <= "\udfff" for character in name)


def check_storable(*names: str) -> None:
    """Raise ValueError unless a store can hold each of them."""
    if not all(map(is_storable, names)):
        raise ValueError("a name that no store can hold")
