"""Our own server as a child process, as an operator would run it: started, killed, drained and started again."""

from __future__ import annotations

import contextlib
import json
import os
import random
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

START_TIMEOUT_S = 60.0
READY = re.compile(r'"event":"ready"|^ready http|\] ready ', re.MULTILINE)  # JSON, `dev`, log lines for people


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nobody listens on now.

    Below those that the kernel gives to others (ip(7), `ip_local_port_range`): a server that was killed must find its
    port free when it starts again.
    """
    while True:
        port = random.randrange(10_000, 32_000)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def _runs(pid: str) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


class ServerProcess:
    """`collab-server serve` (or `dev`) on ports of its own; a restart keeps them, so that clients find it again."""

    def __init__(
        self,
        folder: Path,
        *,
        command: tuple[str, ...] = ("serve", "--allow-embedded"),
        program: str = "commands.cli",
        **settings: Any,
    ) -> None:
        """`program` is the module to run, for tests whose server can do what ours never should."""
        self.folder = folder
        self.ws_port, self.admin_port, self.http_port = free_port(), free_port(), free_port()
        self._command = (program, *command)
        self.settings = settings
        self._process: subprocess.Popen[bytes] | None = None
        self._log = folder / "server.log"

    @property
    def websocket_url(self) -> str:
        return f"ws://127.0.0.1:{self.ws_port}/ws"

    @property
    def admin_url(self) -> str:
        return f"http://127.0.0.1:{self.admin_port}"

    @property
    def page_url(self) -> str:
        return f"http://127.0.0.1:{self.http_port}/"

    @property
    def pid(self) -> int:
        """The process that serves: the child of the supervisor."""
        return int(self._children()[0])

    @property
    def supervisor_pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def runs(self) -> bool:
        """Whether its supervisor is there, which starts a server that died again."""
        return self._process is not None and self._process.poll() is None

    def _children(self) -> list[str]:
        pid = self.supervisor_pid
        return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()

    @property
    def output(self) -> str:
        """Everything it has printed and logged."""
        return self._log.read_text() if self._log.exists() else ""

    @property
    def log_lines(self) -> list[dict[str, Any]]:
        """What it has logged, parsed."""
        return [json.loads(line) for line in self.output.splitlines() if line.startswith("{")]

    @property
    def times_ready(self) -> int:
        """How often it has become ready."""
        return len(READY.findall(self.output))

    def environment(self) -> dict[str, str]:
        """What the process sees of its settings, and nothing of ours."""
        own = {
            "ws_port": self.ws_port,
            "admin_port": self.admin_port,
            "http_port": self.http_port,
            "data_dir": self.folder / "data",
            **self.settings,
        }
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("COLLAB_")}
        return inherited | {f"COLLAB_{name.upper()}": str(value) for name, value in own.items()}

    def start(self) -> None:
        """Start it and wait until it is ready."""
        before = self.times_ready
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", *self._command],
                env=self.environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        deadline = time.monotonic() + START_TIMEOUT_S
        while self.times_ready == before:
            assert self._process.poll() is None, self.output
            assert time.monotonic() < deadline, self.output
            time.sleep(0.02)

    def kill(self) -> None:
        """SIGKILL, as when the machine is lost: nothing is flushed, nobody starts it again."""
        children = self._children() if self._process is not None and self._process.poll() is None else []
        self._end(signal.SIGKILL)
        deadline = time.monotonic() + START_TIMEOUT_S
        while any(_runs(pid) for pid in children):  # it ends with its supervisor
            assert time.monotonic() < deadline, children
            time.sleep(0.005)

    def stop(self) -> int:
        """SIGTERM, and the exit code once it has drained."""
        return self._end(signal.SIGTERM)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal, and wait for nothing; one that has ended already gets none."""
        assert self._process is not None
        if self._process.poll() is None:
            self._process.send_signal(number)

    def exit_code(self) -> int:
        """Wait for its end."""
        assert self._process is not None
        return self._process.wait(timeout=60)

    def _end(self, number: signal.Signals) -> int:
        self.signal(number)
        return self.exit_code()

    def restart(self) -> None:
        """Kill it and start it again on the same ports and storage."""
        self.kill()
        self.start()
