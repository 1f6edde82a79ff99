"""Stock JavaScript clients for the tests: the npm packages they come from, and one real client in its own node.

`install_packages` brings the locked packages of a folder; `NodeClient` drives tests/interop/client.mjs over its
standard streams. Nothing here knows the wire protocol: what goes over the wire is the published client's own doing.
Called by tests/interop and by any test that wants a second, independent implementation in the room.
"""

import asyncio
import fcntl
import hashlib
import json
import shutil
import subprocess
from asyncio.subprocess import PIPE, Process
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

ROOT = Path(__file__).resolve().parents[2]
INTEROP = ROOT / "tests" / "interop"
VERSIONS = ("1.5.4", "2.1.0", "3.1.0")
"""The y-websocket releases our users have: the last of each major version."""

NEWEST = VERSIONS[-1]
WITH_SYNC_STATUS = "3.1.0-rc.5"
"""The release candidate that shows which of its edits the server has stored; 3.1.0 went out without that."""

PATIENCE_S = 15.0
"""How long a condition may take on a busy two-core machine; on an idle one they take milliseconds."""

INSTALL_S = 300.0
LONGEST_ANSWER_BYTES = 64 * 1024 * 1024
"""One answer is one line; a 20 MB document read as JSON stays below this."""


class ClientRefused(Exception):
    """The client answered a command with an error: a condition not met in time, or a command it could not do."""


class NodeMissing(Exception):
    """node, npm or the registry is not there; the message says which and what to do."""


def install_packages(folder: Path) -> Path:
    """`npm ci` in `folder` unless its node_modules come from this very lock file; returns node_modules.

    Safe to call from many test processes at once: one installs, the others wait. Raises NodeMissing.
    """
    node_modules = folder / "node_modules"
    wanted = hashlib.sha256((folder / "package-lock.json").read_bytes()).hexdigest()
    stamp = node_modules / ".lock-sha256"  # npm ci empties the folder first, so a broken install leaves no stamp
    lock = ROOT / ".cache" / f"npm-{hashlib.sha256(str(folder).encode()).hexdigest()[:12]}.lock"
    lock.parent.mkdir(exist_ok=True)
    with lock.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        if not stamp.exists() or stamp.read_text() != wanted:
            _npm_ci(folder)
            stamp.write_text(wanted)
    return node_modules


def _npm_ci(folder: Path) -> None:
    npm = shutil.which("npm")
    if npm is None or shutil.which("node") is None:
        raise NodeMissing("the interop tests need node >= 20 and npm on PATH")
    done = subprocess.run([npm, "ci"], cwd=folder, capture_output=True, text=True, timeout=INSTALL_S, check=False)
    if done.returncode != 0:
        raise NodeMissing(f"npm ci failed in {folder}:\n{done.stderr[-2000:]}")


class NodeClient:
    """One stock client in its own node process: `async with NodeClient(url, "room", version="2.1.0") as alice:`.

    It is connected and synced on entering unless `connect=False`. `awareness` is the local state it starts with;
    `name` is short for `{"user": {"name": name}}`; with neither it has none, like a client without cursors.
    Raises ClientRefused where the client answers with an error.
    """

    def __init__(
        self,
        url: str,
        room: str,
        *,
        version: str = NEWEST,
        token: str | None = None,
        params: dict[str, str] | None = None,
        name: str | None = None,
        awareness: dict[str, Any] | None = None,
        connect: bool = True,
        patience_s: float = PATIENCE_S,
    ) -> None:
        self.patience_s = patience_s
        state = awareness if awareness is not None else None if name is None else {"user": {"name": name}}
        query = (params or {}) | ({} if token is None else {"token": token})
        self._opening = {"version": version, "url": url, "room": room, "params": query, "awareness": state}
        self._connect = connect
        self._node: Process | None = None
        self._reader: asyncio.Task[None] | None = None
        self._answers: dict[int, asyncio.Future[Any]] = {}
        self._last_id = 0

    async def __aenter__(self) -> Self:
        self._node = await asyncio.create_subprocess_exec(
            "node", "client.mjs", cwd=INTEROP, stdin=PIPE, stdout=PIPE, limit=LONGEST_ANSWER_BYTES
        )
        self._reader = asyncio.create_task(self._read_answers(self._node))
        try:
            await self.ask("open", connect=self._connect, **self._opening)
            if self._connect:
                await self.synced()
        except BaseException:
            await self.kill()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.kill()

    async def kill(self) -> None:
        """SIGKILL: the client vanishes without a word, as when a laptop's lid closes on it."""
        assert self._node is not None
        assert self._reader is not None
        with suppress(ProcessLookupError):
            self._node.kill()
        await self._node.wait()
        await self._reader

    async def ask(self, command: str, /, **wanted: Any) -> Any:
        """One command of client.mjs and its answer."""
        assert self._node is not None
        assert self._node.stdin is not None
        self._last_id += 1
        answer = self._answers[self._last_id] = asyncio.get_running_loop().create_future()
        self._node.stdin.write(json.dumps({"id": self._last_id, "do": command, **wanted}).encode() + b"\n")
        await self._node.stdin.drain()
        return await answer

    async def wait(self, until: str, *, patience_s: float | None = None, **wanted: Any) -> None:
        """Until the client says so, or ClientRefused with what it sees instead."""
        deadline_ms = 1000 * (self.patience_s if patience_s is None else patience_s)
        await self.ask("wait", until=until, deadline_ms=deadline_ms, **wanted)

    async def synced(self) -> None:
        await self.wait("synced")

    async def sees_text(self, text: str) -> None:
        """Until the whole text is `text`."""
        await self.wait("text", equals=text)

    async def sees(self, excerpt: str) -> None:
        """Until the text contains `excerpt`."""
        await self.wait("text", contains=excerpt)

    async def sees_peers(self, *names: str | None) -> None:
        """Until the others here have exactly these names, in any order; None is a peer without a name."""
        await self.wait("peers", names=names)

    async def state(self) -> dict[str, Any]:
        """text, delta, map, array, xml, and everything of `digest`."""
        return dict(await self.ask("state"))

    async def digest(self) -> dict[str, Any]:
        """snapshot, text_sha, text_length, state_vector, update_sha, update_bytes, pending."""
        return dict(await self.ask("digest"))

    async def events(self, name: str) -> list[dict[str, Any]]:
        """What the provider reported: status, sync, connection-close, closed, permission-denied, warning, error."""
        return [event for event in await self.ask("events") if event["event"] == name]

    async def _read_answers(self, node: Process) -> None:
        assert node.stdout is not None
        async for line in node.stdout:
            answer = json.loads(line)
            waiting = self._answers.pop(answer["id"])
            if waiting.done():  # whoever asked was cancelled meanwhile
                continue
            if "error" in answer:
                waiting.set_exception(ClientRefused(answer["error"]))
            else:
                waiting.set_result(answer["result"])
        for waiting in self._answers.values():
            waiting.cancel("the client is gone")


async def converged(clients: Iterable[NodeClient], *, patience_s: float = PATIENCE_S) -> dict[str, Any]:
    """The state all of them hold, once they hold the same and wait for nothing.

    Equal snapshots mean the same structs and deletions; each client's own edits are in its snapshot from the start,
    so all being equal means that everyone has everything. Raises TimeoutError.
    """
    clients = list(clients)
    async with asyncio.timeout(patience_s):
        while True:
            digests = [await client.digest() for client in clients]
            if len({digest["snapshot"] for digest in digests}) == 1 and not any(d["pending"] for d in digests):
                break
            await asyncio.sleep(0.02)
    states = [await client.state() for client in clients]
    for read in ("text", "delta", "map", "array", "xml", "text_sha"):
        assert all(state[read] == states[0][read] for state in states), f"equal snapshots, different {read}"
    return states[0]


if __name__ == "__main__":
    install_packages(INTEROP)
