"""Each fault breaks what it says, and heals."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from chaos.faults import MOST_BYTES_WRITTEN, DiskFull, Freeze, StoreAway

DICE = random.Random(1)
WRITES = """
import sys
for path in sys.stdin:
    try:
        with open(path.strip(), "wb", buffering=0) as file:
            while file.tell() < 10_000:
                file.write(b"x" * 100)
        print("written", flush=True)
    except OSError as error:
        print(type(error).__name__, flush=True)
"""


@pytest.fixture
def writing() -> Iterator[subprocess.Popen[str]]:
    """A process that writes 10,000 bytes to each file it is told."""
    with subprocess.Popen(
        [sys.executable, "-c", WRITES], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        yield process
        process.kill()


def write(process: subprocess.Popen[str], path: Path) -> str:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(f"{path}\n")
    process.stdin.flush()
    return process.stdout.readline().strip()


@dataclass
class Serving:
    serving_pid: int | None


def state_of(pid: int) -> str:
    """One letter: S sleeping, T stopped."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0]


async def test_a_full_disk_takes_a_little_of_a_file_until_it_is_healed(
    writing: subprocess.Popen[str], tmp_path: Path
) -> None:
    fault = DiskFull(Serving(writing.pid))
    assert write(writing, tmp_path / "before") == "written"
    await fault.inject(DICE)
    assert write(writing, tmp_path / "during") == "OSError"
    assert (tmp_path / "during").stat().st_size <= MOST_BYTES_WRITTEN
    await fault.heal()
    assert write(writing, tmp_path / "after") == "written"


async def test_a_frozen_process_stands_still_until_it_is_healed(writing: subprocess.Popen[str], tmp_path: Path) -> None:
    fault = Freeze(Serving(writing.pid))
    await fault.inject(DICE)
    deadline = time.monotonic() + 20
    while state_of(writing.pid) != "T":
        assert time.monotonic() < deadline
    await fault.heal()
    assert write(writing, tmp_path / "file") == "written"


async def test_a_store_that_is_away_takes_nothing_and_comes_back_as_it_was(tmp_path: Path) -> None:
    store = tmp_path / "objects"
    store.mkdir()
    (store / "one").write_text("content")
    fault = StoreAway(store)
    await fault.inject(DICE)
    with pytest.raises(OSError, match=r"exists|directory"):
        (store / "two").write_text("content")
    with pytest.raises(FileExistsError):
        store.mkdir()
    await fault.heal()
    assert [path.name for path in store.iterdir()] == ["one"]
