"""`collab-server check-config`: the effective settings, secrets masked, and what would keep `serve` from starting."""

from __future__ import annotations

from typing import Annotated

import typer
from pydantic import SecretStr

from collab_server.settings import DevelopmentSettings, Settings
from commands.running import CONFIGURATION_EXIT, read_values


def check_config(
    dev: Annotated[bool, typer.Option("--dev", help="As `collab-server dev` would see them.")] = False,
) -> None:
    """Print the effective settings; exit 2 when `serve` would refuse them."""
    settings = read_values(DevelopmentSettings if dev else Settings)
    for name in type(settings).model_fields:
        print(f"COLLAB_{name.upper()}={_shown(getattr(settings, name))}")
    found = settings.problems() + ([] if dev else settings.embedded_parts())
    for sentence in found:
        print(f"! {sentence}")
    if found:
        raise typer.Exit(CONFIGURATION_EXIT)


def _shown(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, SecretStr):
        return "(set)"
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    return str(value)
