"""Development tokens for a server process of a test, signed with the keys in its folder."""

from __future__ import annotations

import time
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from auth.dev_keys import DevKeys
from auth.permissions import Role
from tests.services.server import ServerProcess


@cache
def _keys(folder: Path) -> DevKeys:
    """Reading a key pair takes 0.1 s, and a server keeps its own for good."""
    return DevKeys.load_or_create(folder)


def token(
    server: ServerProcess,
    subject: str = "ada",
    *,
    role: str = "editor",
    document: str = "*",
    name: str | None = None,
    groups: Iterable[str] = (),
    expires_s: float = 3600,
    issued_in_s: float = 0.0,
) -> str:
    """A token that `server`, started with `auth="dev"`, accepts."""
    keys = _keys(server.folder / "data" / "keys")
    return keys.sign(
        subject, name or subject.title(), {document: Role(role)}, groups, expires_s, time.time() + issued_in_s
    )
