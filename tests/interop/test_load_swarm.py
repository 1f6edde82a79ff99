"""The load test itself: it types for real, measures, judges, and ends by itself."""

import asyncio
import sys
import time
from pathlib import Path

import pytest

from auth.dev_keys import DevKeys
from auth.permissions import Role
from tests.services.node import ROOT
from tests.services.server import ServerProcess

SCENARIO = """
[short]
users = 4
members_per_room = 2
spawn_per_s = 4
duration_s = 4
keystrokes_per_s = 10
cursor_moves_per_s = 2
edit_to_peer_p95_ms = {p95_ms}
error_ratio = 0
min_keystrokes_per_s = {keystrokes_per_s}
"""


async def run(url: str, folder: Path, *options: str, p95_ms: float, keystrokes_per_s: float) -> tuple[int | None, str]:
    """Exit code and what was printed."""
    scenarios = folder / "scenarios.toml"
    scenarios.write_text(SCENARIO.format(p95_ms=p95_ms, keystrokes_per_s=keystrokes_per_s))
    command = [sys.executable, "-m", "loadtests.run", url, "--scenario", "short", "--scenarios", str(scenarios)]
    command += ["--html", str(folder / "report.html"), *options]
    runner = await asyncio.create_subprocess_exec(
        *command, cwd=ROOT, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    async with asyncio.timeout(90):
        printed, _ = await runner.communicate()
    return runner.returncode, printed.decode()


async def test_a_good_run_of_signed_in_people_passes_and_leaves_a_report(
    dev_server: ServerProcess, tmp_path: Path
) -> None:
    keys = DevKeys.load_or_create(dev_server.folder / "data" / "keys")
    token = keys.sign("load", "load test", {"*": Role.EDITOR}, (), 600, time.time())
    code, printed = await run(dev_server.websocket_url, tmp_path, "--token", token, p95_ms=5000, keystrokes_per_s=5)
    assert (code, "All thresholds met." in printed) == (0, True), printed
    report = (tmp_path / "report.html").read_text()
    for name in ("connect", "first sync", "keystroke", "edit to peer", "room converged"):
        assert name in printed
        assert name in report


async def test_a_missed_threshold_fails_the_run_and_is_named(open_server: ServerProcess, tmp_path: Path) -> None:
    code, printed = await run(open_server.websocket_url, tmp_path, p95_ms=0, keystrokes_per_s=1000)
    assert code == 1, printed
    assert "the limit is 0 ms." in printed
    assert "at least 1000 were wanted." in printed


async def test_people_who_are_not_let_in_fail_the_run_with_the_reason(
    dev_server: ServerProcess, tmp_path: Path
) -> None:
    code, printed = await run(dev_server.websocket_url, tmp_path, p95_ms=5000, keystrokes_per_s=0)
    assert code == 1, printed
    assert "No edit was seen by a peer." in printed
    assert "401" in printed


@pytest.mark.parametrize(
    ("url", "sentence"), [("http://127.0.0.1/", "is not a WebSocket address"), ("ws://127.0.0.1:1/ws", "no server")]
)
async def test_a_server_that_is_not_there_is_said_at_once(url: str, sentence: str, tmp_path: Path) -> None:
    code, printed = await run(url, tmp_path, p95_ms=1, keystrokes_per_s=1)
    assert (code, sentence in printed) == (2, True), printed
