"""A real S3 (and Cognito) API for tests: ministack, a stand-in for AWS, in a virtual environment of its own.

It needs its own environment because it pins botocore. It must never be reachable from another machine, nor see the
developer's AWS settings. Called by `fixtures_ministack`; run as a module it only installs, ahead of time.
"""

import fcntl
import hashlib
import os
import secrets
import subprocess
import sys
import time
import urllib.error
import urllib.request
from functools import cached_property
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final

import boto3

from tests.services.server import free_port

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

ROOT = Path(__file__).resolve().parents[2]
LOCK = Path(__file__).with_name("ministack.lock")
ENVIRONMENT = ROOT / ".cache" / "ministack"
REGION: Final = "eu-west-1"
START_TIMEOUT_S = 60.0
POLL_S = 0.05
STOP_TIMEOUT_S = 10.0


class MinistackFailed(Exception):
    """It could not be installed or did not come up; the message carries what it printed."""


def install() -> Path:
    """The interpreter of ministack's environment, which is made when it is missing or its lock has changed.

    Safe to call from many test processes at once: one installs, the others wait.
    """
    python = ENVIRONMENT / "bin" / "python"
    wanted = hashlib.sha256(LOCK.read_bytes()).hexdigest()
    stamp = ENVIRONMENT / ".lock-sha256"
    ENVIRONMENT.parent.mkdir(exist_ok=True)
    with ENVIRONMENT.with_suffix(".lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        if not stamp.exists() or stamp.read_text() != wanted:
            _checked([sys.executable, "-m", "venv", "--clear", str(ENVIRONMENT)])
            _checked([str(python), "-m", "pip", "install", "--quiet", "--require-hashes", "-r", str(LOCK)])
            stamp.write_text(wanted)
    return python


class Ministack:
    """One server on a free port, with one account whose keys are made up for it."""

    def __init__(self, folder: Path) -> None:
        self.region = REGION
        self.access_key = f"test-{secrets.token_hex(8)}"
        self.secret_key = secrets.token_urlsafe(24)
        self.port = free_port()
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def endpoint_url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @cached_property
    def session(self) -> boto3.Session:
        """A boto3 session of the server's account. One for all: each new one reads the service models again (1 s)."""
        return boto3.Session(
            aws_access_key_id=self.access_key, aws_secret_access_key=self.secret_key, region_name=self.region
        )

    @cached_property
    def s3(self) -> "S3Client":
        """A client that sees every bucket."""
        return self.session.client("s3", endpoint_url=self.endpoint_url)

    def fresh_bucket(self) -> str:
        """The name of a new, empty bucket."""
        name = f"test-{secrets.token_hex(12)}"
        self.s3.create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": REGION})
        return name

    def start(self) -> None:
        """Start it and wait until it answers. Raises MinistackFailed."""
        python = install()
        log = self._folder / "ministack.log"
        with log.open("ab") as output:
            self._process = self._spawn(python, output)
        deadline = time.monotonic() + START_TIMEOUT_S
        while not self._healthy():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                raise MinistackFailed(log.read_text())
            time.sleep(POLL_S)

    def stop(self) -> None:
        """End it; what it holds is gone with its folder."""
        if "s3" in vars(self):
            self.s3.close()
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    def _spawn(self, python: Path, output: IO[bytes]) -> "subprocess.Popen[bytes]":
        return subprocess.Popen(
            [python, "-m", "ministack"],
            cwd=self._folder,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C ends the tests, and they end it
            env={
                "PATH": os.environ.get("PATH", os.defpath),
                "HOME": str(self._folder),
                "TMPDIR": str(self._folder),
                "GATEWAY_PORT": str(self.port),
                "BIND_HOST": "127.0.0.1",
                "IOT_MTLS_ENABLED": "false",  # it would take a second, fixed port
                "AUTH": "true",
                "AWS_ACCESS_KEY_ID": self.access_key,
                "AWS_SECRET_ACCESS_KEY": self.secret_key,
                "MINISTACK_REGION": self.region,
                "S3_PERSIST": "1",  # without it every object lives in its memory
                "S3_DATA_DIR": str(self._folder / "s3"),
                "STATE_DIR": str(self._folder / "state"),
                "LOG_LEVEL": "WARNING",
            },
        )

    def _healthy(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.endpoint_url}/_ministack/health", timeout=1) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False


def _checked(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise MinistackFailed(f"{' '.join(command)}\n{done.stdout}{done.stderr}")


if __name__ == "__main__":
    install()
