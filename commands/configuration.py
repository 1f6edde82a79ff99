"""Settings for a command, and the one way a command says that something is wrong with them. Light: loads no server."""

from __future__ import annotations

import sys
from typing import NoReturn

import typer
from pydantic import ValidationError

from collab_server.settings import Settings

CONFIGURATION_EXIT = 2


def read_values(kind: type[Settings]) -> Settings:
    """The settings of the environment; ends the command with a sentence for each value that cannot be meant."""
    try:
        return kind()
    except ValidationError as error:
        fail(*(f"COLLAB_{'.'.join(map(str, e['loc'])).upper()}: {e['msg'].lower()}" for e in error.errors()))


def read_settings(kind: type[Settings]) -> Settings:
    """Like `read_values`, and the values must not contradict each other."""
    settings = read_values(kind)
    if problems := settings.problems():
        fail(*problems)
    return settings


def fail(*sentences: str) -> NoReturn:
    """End the command: what is wrong and what to do, on standard error."""
    for sentence in sentences:
        print(f"collab-server: {sentence}", file=sys.stderr)
    raise typer.Exit(CONFIGURATION_EXIT)
