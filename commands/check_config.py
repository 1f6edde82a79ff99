"""`collab-server check-config`: the effective settings, secrets masked, and what would keep `serve` from starting."""

from __future__ import annotations

import typer
from pydantic import SecretStr

from collab_server.settings import DevelopmentSettings, Settings
from commands.configuration import CONFIGURATION_EXIT, read_values


def print_config(*, dev: bool) -> None:
    """Print `NAME=value` lines, then one line with `!` for each thing that is wrong; exit 2 if there is any."""
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
