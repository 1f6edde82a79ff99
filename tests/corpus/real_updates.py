"""What real Yjs clients send, made by tests/interop/generate*_updates.mjs and read back here."""

from __future__ import annotations

import base64
import json
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

INTEROP = Path(__file__).parents[1] / "interop"
GENERATOR, EDITORS_GENERATOR = INTEROP / "generate_updates.mjs", INTEROP / "generate_editor_updates.mjs"
EDITORS = ("codemirror", "prosemirror", "quill", "tiptap")


@dataclass
class Session:
    """One room: its `updates` in the order a server gets them, and the state vector of the room in the end.

    `name` begins with its editor's, if it has one, and `content` is what its people end up with. `cuts_pairs` tells
    that clients of the session cut emoji in their middle.
    """

    name: str = ""
    updates: list[bytes] = field(default_factory=list)
    state_vector: bytes = b""
    cuts_pairs: bool = False
    content: object = None


@dataclass
class RealUpdates:
    """Sessions, and single updates a server refuses, each with the reason."""

    sessions: list[Session] = field(default_factory=list)
    refused: list[tuple[str, bytes]] = field(default_factory=list)


def generate(seed: int, updates: int) -> str:
    """The generator's lines: at least `updates` updates, always the same for one seed."""
    command = ["node", str(GENERATOR), str(seed), str(updates)]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=300).stdout


def generate_with_editors(seed: int, updates: int) -> str:
    """Lines of several real editors, at least `updates` updates of each."""
    command = ["node", str(EDITORS_GENERATOR), str(seed), str(updates), *EDITORS]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=3_600).stdout


def read_content(states: Iterable[bytes]) -> list[object]:
    """What the editors of sessions would show that ended up with `states`, as Yjs reads them."""
    lines = "".join(base64.b64encode(state).decode() + "\n" for state in states)
    command = ["node", str(EDITORS_GENERATOR), "read"]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=300, input=lines)
    return [json.loads(line) for line in done.stdout.splitlines()]


def merge_with_yjs(seed: int, sessions: Iterable[Iterable[bytes]]) -> list[tuple[list[bytes], list[bytes]]]:
    """For each session all its updates as one: merged, as a document's state, as that of one that collects no garbage.

    And the states of documents that know a part of it, up to any clocks.
    """
    lines = "".join(" ".join(base64.b64encode(update).decode() for update in updates) + "\n" for updates in sessions)
    command = ["node", str(EDITORS_GENERATOR), "merge", str(seed)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=300, input=lines)
    decoded = [[base64.b64decode(state) for state in line.split()] for line in done.stdout.splitlines()]
    return [(states[:3], states[3:]) for states in decoded]


def parse(lines: str) -> RealUpdates:
    """Read the generator's lines."""
    found = RealUpdates()
    session = Session()
    for line in lines.splitlines():
        session.name, kind, length, encoded = line.split(" ")
        body = base64.b64decode(encoded)
        assert len(body) == int(length)
        if kind == "update":
            session.updates.append(body)
        elif kind.startswith("state"):
            session.state_vector = body
            session.cuts_pairs = kind == "state_after_cut_pairs"
            found.sessions.append(session)
            session = Session()
        elif kind == "content":
            found.sessions[-1].content = json.loads(body)
        else:
            found.refused.append((kind, body))
    return found
