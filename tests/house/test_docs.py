"""The documents say what the code does: settings, close codes, metrics, commands and links."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from typer.main import get_command

from collab_server.errors import Close
from collab_server.settings import Settings
from collab_server.telemetry import Metrics
from commands.cli import app

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted([*DOCS.rglob("*.md"), *ROOT.glob("*.md")])


def rows(page: str) -> dict[str, list[str]]:
    """The table rows of a page by their first cell; a cell that is all code loses its backticks."""
    cells = (
        [re.sub(r"^`([^`]*)`$", r"\1", cell.strip()) for cell in line.strip("|").split("|")]
        for line in (DOCS / page).read_text().splitlines()
        if line.startswith("|")
    )
    return {first: rest for first, *rest in cells}


def test_every_setting_is_documented_with_its_default_and_nothing_else_is() -> None:
    documented = {name: row for name, row in rows("settings.md").items() if name.startswith("COLLAB_")}
    assert documented.keys() == {f"COLLAB_{name.upper()}" for name in Settings.model_fields}
    for name, field in Settings.model_fields.items():
        default, meaning = documented[f"COLLAB_{name.upper()}"]
        expected = "" if field.default in (None, ()) else getattr(field.default, "value", field.default)
        assert default == str(expected), name
        assert meaning == field.description, name


def test_every_close_code_is_documented_as_it_is() -> None:
    documented = {code: row for code, row in rows("protocol.md").items() if code.isdecimal()}
    assert documented == {
        str(close.code): [close.slug, "yes" if close.retry else "no", str(close.status.value), close.text]
        for close in Close
    }


def test_every_metric_is_documented_and_nothing_else_is() -> None:
    documented = {name for name in rows("operations.md") if name.startswith("collab_")}
    assert documented == {metric.name for metric in Metrics().registry.collect()}


def test_every_command_is_named_in_the_readme() -> None:
    readme = (ROOT / "README.md").read_text()
    for command in get_command(app).commands:  # type: ignore[attr-defined]
        assert f"collab-server {command}" in readme, command


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_and_named_file_exists(page: Path) -> None:
    text = page.read_text()
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", text):
        if "://" not in target:
            assert (page.parent / target).exists(), target
    for target in re.findall(r"`((?:tests|docs|loadtests|bench)/[\w./-]+)`", text):
        assert (ROOT / target).exists(), target
