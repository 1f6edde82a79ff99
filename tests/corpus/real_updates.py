"""What real Yjs clients send, made by tests/interop/generate_updates.mjs and read back here."""

from __future__ import annotations

import base64
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

GENERATOR = Path(__file__).parents[1] / "interop" / "generate_updates.mjs"


@dataclass
class Session:
    """One room: its `updates` in the order a server gets them, and the state vector of the room in the end.

    `cuts_pairs` tells that clients of the session cut emoji in their middle.
    """

    updates: list[bytes] = field(default_factory=list)
    state_vector: bytes = b""
    cuts_pairs: bool = False


@dataclass
class RealUpdates:
    """Sessions, and single updates a server refuses, each with the reason."""

    sessions: list[Session] = field(default_factory=list)
    refused: list[tuple[str, bytes]] = field(default_factory=list)


def generate(seed: int, updates: int) -> str:
    """The generator's lines: at least `updates` updates, always the same for one seed."""
    command = ["node", str(GENERATOR), str(seed), str(updates)]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=300).stdout


def parse(lines: str) -> RealUpdates:
    """Read the generator's lines."""
    found = RealUpdates()
    session = Session()
    for line in lines.splitlines():
        _session, kind, length, encoded = line.split(" ")
        body = base64.b64decode(encoded)
        assert len(body) == int(length)
        if kind == "update":
            session.updates.append(body)
        elif kind.startswith("state"):
            session.state_vector = body
            session.cuts_pairs = kind == "state_after_cut_pairs"
            found.sessions.append(session)
            session = Session()
        else:
            found.refused.append((kind, body))
    return found
