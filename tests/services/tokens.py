"""Development tokens for a server process of a test, signed with the keys in its folder."""

from __future__ import annotations

import time
from collections.abc import Iterable

from auth.dev_keys import DevKeys
from auth.permissions import Role
from tests.services.server import ServerProcess


def token(
    server: ServerProcess,
    subject: str = "ada",
    *,
    role: str = "editor",
    document: str = "*",
    name: str | None = None,
    groups: Iterable[str] = (),
    expires_s: float = 3600,
) -> str:
    """A token that `server`, started with `auth="dev"`, accepts."""
    keys = DevKeys.load_or_create(server.folder / "data" / "keys")
    return keys.sign(subject, name or subject.title(), {document: Role(role)}, groups, expires_s, time.time())
