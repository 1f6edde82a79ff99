"""Facts about the directory of blobs on a full disk (F11), and when its process is killed while it writes (F15)."""

import asyncio
import json
import random
import sys
from asyncio.subprocess import PIPE
from pathlib import Path

from persistence.blobs_directory import DirectoryBlobs
from tests.unit.persistence import endless_puts, full_disk

ROUNDS = 8


async def test_a_full_disk_fails_the_checkpoint_and_nothing_else(tmp_path: Path) -> None:
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-m", full_disk.__name__, str(tmp_path / "blobs"), stdout=PIPE, stderr=PIPE
    )
    output, errors = await child.communicate()
    assert child.returncode == 0, errors.decode()
    found = json.loads(output)
    assert found["full"].pop("outcome").startswith("OSError")
    assert found == {
        "full": {"generations": 0, "unfolded": 1, "files": [], "opens": True},
        "room_again": {"generation": 1, "unfolded": 0, "opens": True},
    }


async def test_a_blob_is_there_whole_or_not_at_all_whenever_its_writer_is_killed(tmp_path: Path) -> None:
    chance = random.Random(15)
    for number in range(ROUNDS):
        child = await asyncio.create_subprocess_exec(
            sys.executable, "-m", endless_puts.__name__, str(tmp_path), f"{number}", stdout=PIPE
        )
        assert child.stdout is not None
        await child.stdout.readline()
        await asyncio.sleep(chance.uniform(0.002, 0.12))  # somewhere in the middle of a write
        child.kill()
        await child.wait()
    blobs = DirectoryBlobs(tmp_path)
    keys = await blobs.list_keys("")
    assert keys
    assert [key for key in keys if await blobs.get(key) != endless_puts.body_of(key)] == []
    await blobs.close()
