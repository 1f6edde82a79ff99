"""`collab-server token`: a development token for one person, to paste into a client, a script or a load test."""

from __future__ import annotations

import sys
import time
from typing import Annotated

import typer

from auth.dev_keys import DevKeys, DevKeysUnusable
from auth.permissions import Role
from collab_server.settings import DevelopmentSettings
from commands.running import fail, read_settings


def token(
    user: Annotated[str, typer.Option(help="Stable id of the person, e.g. alice.")],
    name: Annotated[str | None, typer.Option(help="Name others see; the id when left out.")] = None,
    document: Annotated[
        list[str] | None, typer.Option(help='Document it is for; "*" for all. May be repeated.')
    ] = None,
    role: Annotated[Role, typer.Option(help="What the person may do there.")] = Role.EDITOR,
    group: Annotated[list[str] | None, typer.Option(help="Group, e.g. admin. May be repeated.")] = None,
    expires_s: Annotated[float, typer.Option(min=1, help="Seconds until it expires.")] = 3600,
) -> None:
    """Print a token that a server with COLLAB_AUTH=dev on the same COLLAB_DATA_DIR accepts."""
    settings = read_settings(DevelopmentSettings)
    try:
        keys = DevKeys.load_or_create(settings.data_dir / "keys")
        grants = dict.fromkeys(document or (), role)
        signed = keys.sign(user, name or user, grants, group or (), expires_s, time.time())
    except (DevKeysUnusable, OSError, ValueError) as error:
        fail(str(error))
    if not document and not group:
        print("note: without --document it opens no document", file=sys.stderr)
    print(signed)
