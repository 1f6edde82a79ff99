"""What must hold, looked at after every effect on a store and once more when all is healed.

Knows the code under test only by the memory adapters it looks into: what a generation holds is told by replaying its
blob, what was promised by what the recorders called durable. A broken promise is raised at once as `Violated`.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any
from uuid import UUID

from pycrdt import Doc, Text

from persistence.blobs_memory import MemoryBlobs
from persistence.checkpoints import KEPT_GENERATIONS, Checkpoint, CheckpointTable
from persistence.compression import decompress
from persistence.journal import JournalEntry
from persistence.replay import replay
from persistence.state_vectors import covers, decode
from tests.simulation.loop import at_once

if TYPE_CHECKING:
    from tests.simulation.clients import Client
    from tests.simulation.world import World

TOKEN = re.compile(r"\d+\.\d+;")


class Violated(Exception):
    """A promise was broken."""


class Held:
    """What the blob of a generation held when it was recorded. `updates` are rows known to be in it."""

    def __init__(self, state: bytes, clocks: dict[int, int]) -> None:
        self.state = state
        self.clocks = clocks
        self.updates: set[bytes] = set()

    def holds(self, rows: Mapping[bytes, dict[int, int]]) -> bool:
        """Whether each of `rows` (update → reach) brings nothing: no struct by its reach, no delete when applied."""
        if not all(covers(self.clocks, reach) for reach in rows.values()):
            return False
        document = replay(self.state, ())
        before = document.get_update()
        for update in rows:
            document.apply_update(update)
        return document.get_update() == before


class Checker:
    """The promises over one set of stores and one document."""

    def __init__(self, world: World, document_id: UUID, table: CheckpointTable, blobs: MemoryBlobs) -> None:
        self.document_id = document_id
        self.table = table
        self.blobs = blobs
        self.promised: dict[Client, int] = {}  # how many of its tokens were acknowledged
        self.erased: set[str] = set()  # tokens whose erasing was acknowledged
        self.newest = 0
        self._world = world
        self._rows: dict[bytes, dict[int, int]] = {}  # every update that was ever committed → its reach
        self._generations: dict[str, Held] = {}  # key → what the blob held when it was recorded

    def violated(self, what: str) -> None:
        """Note a broken promise: the world ends with this step."""
        self._world.loop.failures.append(Violated(what))

    @property
    def committed(self) -> int:
        """Different rows that were committed."""
        return len(self._rows)

    def promise(self, client: Client, tokens: int, erased: Iterable[str] = ()) -> None:
        """Somebody was told, or could be, that the first `tokens` of `client` and that erasing are durable."""
        if tokens > self.promised.get(client, 0):
            self._world.note("%d tokens of client %d are acknowledged", tokens, client.number)
            self.promised[client] = tokens
        self.erased.update(erased)

    # After every effect

    def journal(self, name: str, args: tuple[Any, ...], _result: Any) -> None:
        """After an effect on the journal."""
        if name == "append":
            entries: list[JournalEntry] = args[0]
            self._world.note("%d rows are committed", len(entries))
            self._rows |= {entry.update: decode(entry.reach) for entry in entries}

    def checkpoints(self, name: str, args: tuple[Any, ...], result: Any) -> None:
        """After an effect on the checkpoint table."""
        if name == "record" and result:
            self._recorded(args[0])
            self.look_through()

    def history(self, name: str, _args: tuple[Any, ...], result: Any) -> None:
        """After an effect on the history of documents."""
        if name in {"forget", "drop"} and result:
            self._world.note("%s: %d", name, result if isinstance(result, int) else len(result))
            self.look_through()

    def bodies(self, name: str, _args: tuple[Any, ...], _result: Any) -> None:
        """After an effect on the blobs."""
        if name == "delete":
            for generation in at_once(self.table.snapshot(self.document_id)).generations:
                if generation.key not in self.blobs._bodies:
                    self.violated(f"the blob of kept generation {generation.generation} was deleted")

    def _recorded(self, checkpoint: Checkpoint) -> None:
        if checkpoint.generation != self.newest + 1:
            self.violated(f"generation {checkpoint.generation} was recorded after generation {self.newest}")
        self.newest = max(self.newest, checkpoint.generation)
        body = self.blobs._bodies.get(checkpoint.key)
        if body is None:
            self.violated(f"generation {checkpoint.generation} was recorded before its blob was there")
            return
        if hashlib.sha256(body).digest() != checkpoint.sha256:
            return  # the world has spoilt it since it was read back
        state = decompress(body)
        clocks = decode(replay(state, ()).get_state())
        self._world.note("generation %d holds %s", checkpoint.generation, clocks)
        if clocks != decode(checkpoint.state_vector):
            self.violated(f"generation {checkpoint.generation} holds something else than its row says")
        for earlier in self._generations.values():
            if not covers(clocks, earlier.clocks):
                self.violated(f"generation {checkpoint.generation} lost what an earlier one held")
        self._generations[checkpoint.key] = Held(state, clocks)

    def look_through(self) -> None:
        """Every kept generation together with the rows it may lack makes the whole."""
        generations, floor = self._kept()
        top = generations[0].generation if generations else 0
        if top < self.newest:
            self.violated(f"the newest generation went back from {self.newest} to {top}")
        if floor and (len(generations) < KEPT_GENERATIONS or generations[KEPT_GENERATIONS - 1].generation < floor):
            self.violated(f"rows up to generation {floor} were let go of, with no {KEPT_GENERATIONS} that hold them")
        for generation in generations:
            if generation.generation < floor:
                continue  # about to be forgotten, and nobody may build on it
            held = self._generations.get(generation.key)
            if held is None:
                continue
            rows = at_once(self.table.snapshot(self.document_id, generation.generation)).rows
            gone = self._rows.keys() - {row.update for row in rows} - held.updates
            if gone and not held.holds({update: self._rows[update] for update in gone}):
                self.violated(f"kept generation {generation.generation} lacks something of {len(gone)} rows, now gone")
            held.updates |= gone

    def _kept(self) -> tuple[tuple[Checkpoint, ...], int]:
        """All kept generations, newest first, and the one up to which rows may be gone."""
        snapshot = at_once(self.table.snapshot(self.document_id))
        return snapshot.generations, snapshot.floor

    # When all is healed

    def unfolded(self) -> int:
        """How many committed rows bring something that the newest generation lacks."""
        generations = at_once(self.table.snapshot(self.document_id)).generations
        rows = {row.update: self._rows[row.update] for row in at_once(self.table.snapshot(self.document_id)).rows}
        held = self._generations.get(generations[0].key) if generations else None
        if held is None:
            return len(rows)
        return sum(not held.holds({update: reach}) for update, reach in rows.items())

    @property
    def rows(self) -> list[bytes]:
        """All updates that were ever committed, whatever became of them."""
        return list(self._rows)

    def stored_text(self) -> str:
        """The text that they make."""
        return text_of(replay(None, self.rows))

    def cold_loads(self) -> dict[str, str]:
        """The text as every way to load it gives it: from each kept generation with the rows it may lack."""
        generations, floor = self._kept()
        texts = {}
        for generation in generations:
            if generation.generation < floor:
                continue
            rows = at_once(self.table.snapshot(self.document_id, generation.generation)).rows
            body = self.blobs._bodies.get(generation.key)
            if body is None or hashlib.sha256(body).digest() != generation.sha256:
                continue  # the world has spoilt it
            state = decompress(body)
            texts[f"generation {generation.generation}"] = text_of(replay(state, [row.update for row in rows]))
        if not floor:
            rows = at_once(self.table.snapshot(self.document_id, 0)).rows
            texts["the journal alone"] = text_of(replay(None, [row.update for row in rows]))
        return texts

    def check_text(self, where: str, text: str, erased: set[str]) -> None:
        """Every acknowledged token is in `text` exactly once, unless someone erased it; none is there in part."""
        found = TOKEN.findall(text)
        if "".join(found) != text:
            self.violated(f"{where}: tokens in part: {text}")
        if len(set(found)) != len(found):
            self.violated(f"{where}: a token is there twice: {text}")
        if back := self.erased & set(found):
            self.violated(f"{where}: {back} are there, although their erasing was acknowledged")
        for client, promised in self.promised.items():
            for token, replaced in client.wrote[:promised]:
                if token not in found and token not in erased:
                    self.violated(f"{where}: the acknowledged {token} of client {client.number} is not there: {text}")
                if replaced is not None and replaced in found:
                    self.violated(f"{where}: {replaced}, whose deletion was acknowledged, is there: {text}")


def text_of(document: Doc[Any]) -> str:
    """The text everybody writes."""
    return str(document.get("content", type=Text))
