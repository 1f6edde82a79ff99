"""Our own server as a child process, as an operator would run it: started, killed, drained and started again."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

START_TIMEOUT_S = 60.0


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class ServerProcess:
    """`collab-server serve` (or `dev`) on ports of its own; a restart keeps them, so that clients find it again."""

    def __init__(
        self, folder: Path, *, command: tuple[str, ...] = ("serve", "--allow-embedded"), **settings: Any
    ) -> None:
        self.folder = folder
        self.ws_port, self.admin_port, self.http_port = free_port(), free_port(), free_port()
        self._command = command
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
        assert self._process is not None
        return self._process.pid

    @property
    def output(self) -> str:
        """Everything it has printed and logged."""
        return self._log.read_text() if self._log.exists() else ""

    @property
    def log_lines(self) -> list[dict[str, Any]]:
        """What it has logged, parsed."""
        return [json.loads(line) for line in self.output.splitlines() if line.startswith("{")]

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
        before = self.output.count("ready")
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "commands.cli", *self._command],
                env=self.environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        deadline = time.monotonic() + START_TIMEOUT_S
        while self.output.count("ready") == before:
            assert self._process.poll() is None, self.output
            assert time.monotonic() < deadline, self.output
            time.sleep(0.02)

    def kill(self) -> None:
        """SIGKILL: nothing is flushed."""
        self._end(signal.SIGKILL)

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
