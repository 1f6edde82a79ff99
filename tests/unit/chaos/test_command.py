"""`collab-server chaos` says what it cannot do before it starts anything."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import structlog
from typer.testing import CliRunner

from commands.cli import app


@pytest.fixture(autouse=True)
def the_log_of_others_stays_theirs() -> Iterator[None]:
    """The command sends the log to its own standard error, which is gone afterwards."""
    yield
    structlog.reset_defaults()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--target", "etherpad"], "--target is ours or hocuspocus"),
        (["--target", "hocuspocus", "--url", "ws://127.0.0.1:1/ws"], "left out with --url"),
        (["--python", "0", "--javascript", "0"], "nobody writes"),
        (["--javascript", "0", "--faults", "earthquake,sigkill"], "not possible here: earthquake; possible: sigkill"),
        (["--javascript", "0", "--url", "ws://127.0.0.1:1/ws", "--faults", "sigkill"], "possible: client-cut"),
    ],
)
def test_what_cannot_be_done_is_said_with_exit_code_2(arguments: list[str], sentence: str) -> None:
    ran = CliRunner().invoke(app, ["chaos", *arguments])
    assert ran.exit_code == 2
    assert sentence in ran.output
