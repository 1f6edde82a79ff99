"""A Python client of sixty lines and a JavaScript client edit one room."""

import asyncio
import sys

from loadtests.client import edit
from tests.interop.conftest import Join
from tests.services.node import ROOT
from tests.services.server import ServerProcess


async def test_a_python_client_and_a_node_client_edit_one_room(
    version: str, join: Join, open_server: ServerProcess, room: str
) -> None:
    alice = await join(version)
    await alice.ask("insert", at=0, text="from node \U0001f600, ")
    url = f"{open_server.websocket_url}/{room}"
    python = asyncio.create_task(edit(url, "from Python \U0001f40d", until="!"))
    await alice.sees("from Python \U0001f40d")
    await alice.ask("type", at=0, text="both: ")
    await alice.ask("insert", at=0, text="!")
    assert await python == "!both: from node \U0001f600, from Python \U0001f40d"
    await alice.sees_text(await python)


async def test_the_python_client_runs_from_the_command_line(join: Join, open_server: ServerProcess, room: str) -> None:
    alice = await join("3.1.0")
    await alice.ask("insert", at=0, text="node and ")
    command = [sys.executable, "loadtests/client.py", f"{open_server.websocket_url}/{room}", "--text", "Python"]
    python = await asyncio.create_subprocess_exec(*command, cwd=ROOT, stdout=asyncio.subprocess.PIPE)
    printed, _ = await python.communicate()
    assert (python.returncode, printed.decode()) == (0, "node and Python\n")
    await alice.sees_text("node and Python")
