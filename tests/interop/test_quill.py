"""Quill itself may cut an emoji: whole text is compared where a program's edit is not just what it says."""

from __future__ import annotations

import base64
import subprocess
from pathlib import Path

import pytest

from collab_server.firewall import UpdateRefused
from collab_server.rooms.replica import Replica
from tests.services.node import INTEROP


def test_an_emoji_put_before_another_is_taken_if_its_formats_are_given(node_packages: Path) -> None:
    command = ["node", str(INTEROP / "editors" / "quill_emoji.mjs")]
    lines = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout.splitlines()
    careless, careful = ([base64.b64decode(update) for update in line.split()] for line in lines)
    room = Replica()
    assert all(room.apply(update) for update in careful)
    room = Replica()
    assert room.apply(careless[0])
    with pytest.raises(UpdateRefused, match="cut_character"):
        room.apply(careless[1])
