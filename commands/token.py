"""`collab-server token`: a development token for one person, to paste into a client, a script or a load test."""

from __future__ import annotations

import sys
import time

from auth.dev_keys import DevKeys, DevKeysUnusable
from auth.permissions import Role
from collab_server.settings import DevelopmentSettings
from commands.configuration import fail, read_settings


def print_token(subject: str, name: str, documents: list[str], role: Role, groups: list[str], expires_s: float) -> None:
    """Sign with the keys in the data directory, made on first use."""
    settings = read_settings(DevelopmentSettings)
    try:
        keys = DevKeys.load_or_create(settings.data_dir / "keys")
        signed = keys.sign(subject, name, dict.fromkeys(documents, role), groups, expires_s, time.time())
    except (DevKeysUnusable, OSError, ValueError) as error:
        fail(str(error))
    if not documents and not groups:
        print("note: without --document it opens no document", file=sys.stderr)
    print(signed)
