"""Letting go of what is no longer needed: rows older than the history window, old generations, blobs nobody names.

One bounded run at a time, in small transactions, with pauses, going on in the next run where it stopped. It must never
delete the blob of a checkpoint that is being made, or one that the table may yet need: a blob is deleted only when its
document has that generation already, under another key, and a day has passed. What is *ahead* of the table is kept and
told: the database may have been restored to an earlier time. Any number of tasks may do this at once. Called by the
server's pruning task.
"""

import asyncio
import re
import secrets
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import UUID

import structlog

from persistence.blobs import Blobs, BlobsUnavailable
from persistence.errors import StorageUnavailable
from persistence.history import FIRST_ID, History, Named

PAGE_DOCUMENTS = 200
BATCH_ROWS = 2_000  # some 50 ms of one connection, and short locks
# Of one run. With pauses it takes minutes, and at one run in five minutes this is 6,000 rows a second for each task.
MAX_BATCHES = 1_000
ID_BITS, SHARD_BITS = 128, 8
SHARDS = 1 << SHARD_BITS  # of the key space, by the first two digits of the document's id
SHARDS_A_RUN = 8  # so that one task looks at every blob every few hours
MAX_DELETES = 1_000  # blobs of one run
# No upload takes so long: a blob older than this, named by no row, is left over (seconds).
ORPHAN_AFTER_S = 86_400.0
MOST_TOLD = 20  # log lines of one run about one thing

KEY = re.compile(r"crdt/(?P<document>[0-9a-f-]{36})/\d+/(?P<generation>\d{8,})-[^/]+")

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Pruned:
    """What one run did and saw.

    `oldest_row_at` is when the oldest folded row of the documents looked at was made. `missing` and `ahead` are of the
    shards looked at since the start: blobs a generation names that are not there, and blobs more than one generation
    ahead of the table or of a document it does not know. `failure` is what ended the run early.
    """

    rows: int = 0
    generations: int = 0
    orphans: int = 0
    missing: int = 0
    ahead: int = 0
    oldest_row_at: datetime | None = None
    failure: StorageUnavailable | None = None


@dataclass(slots=True)
class _Tally:
    """A run so far."""

    rows: int = 0
    batches: int = 0
    generations: int = 0
    orphans: int = 0
    oldest: list[datetime] = field(default_factory=list)
    failure: StorageUnavailable | None = None


@dataclass(frozen=True, slots=True)
class _Shard:
    orphans: tuple[str, ...]
    missing: tuple[str, ...]
    ahead: tuple[str, ...]


class Pruner:
    """See the module. `run` must not overlap itself."""

    def __init__(
        self,
        history: History,
        blobs: Blobs,
        window: timedelta,
        *,
        shards_a_run: int = SHARDS_A_RUN,
        orphan_after_s: float = ORPHAN_AFTER_S,
    ) -> None:
        """`window` is how long a folded row is kept; zero: until three verified generations hold it."""
        self._history = history
        self._blobs = blobs
        self._window = window
        self._shards_a_run = shards_a_run
        self._orphan_after_s = orphan_after_s
        # Each task begins elsewhere, so that many of them do not look at the same things.
        self._cursor = UUID(int=secrets.randbits(128))
        self._shard = secrets.randbelow(SHARDS)
        self._seen: dict[int, tuple[int, int]] = {}  # shard → missing, ahead

    async def run(self, now: datetime) -> Pruned:
        """One bounded run. A store that is away ends it early: what was done until then stays done and is returned."""
        tally = _Tally()
        try:
            await self._prune(now - self._window, tally)
            for _ in range(self._shards_a_run):
                tally.orphans += await self._reconcile(self._shard, MAX_DELETES - tally.orphans)
                self._shard = (self._shard + 1) % SHARDS
        except StorageUnavailable as failure:
            tally.failure = failure
        missing, ahead = (sum(seen[side] for seen in self._seen.values()) for side in (0, 1))
        oldest = min(tally.oldest, default=None)
        return Pruned(tally.rows, tally.generations, tally.orphans, missing, ahead, oldest, tally.failure)

    # Rows and generations

    async def _prune(self, before: datetime, tally: "_Tally") -> None:
        """Go once round all documents, or as far as the bound allows; the next run goes on there."""
        started, wrapped = self._cursor, False
        while True:
            documents = await self._history.page(self._cursor, PAGE_DOCUMENTS)
            if wrapped:
                documents = [document for document in documents if document <= started]
            if documents:
                await self._forget(documents, tally)
                await self._drop(documents, before, tally)
                if (found := await self._history.oldest_row(documents)) is not None:
                    tally.oldest.append(found)
                if tally.batches >= MAX_BATCHES:
                    return
                self._cursor = documents[-1]
            elif wrapped:
                return
            else:
                self._cursor, wrapped = FIRST_ID, True

    async def _forget(self, documents: list[UUID], tally: "_Tally") -> None:
        """The table goes first: a crash in between leaves a blob nobody names, never a name without its blob."""
        if tally.failure is not None:
            return
        forgotten = await self._history.forget(documents)
        tally.generations += len(forgotten)
        try:
            for checkpoint in forgotten:
                await self._blobs.delete(checkpoint.key)
        except BlobsUnavailable as failure:  # the rows can be pruned all the same
            tally.failure = failure

    async def _drop(self, documents: list[UUID], before: datetime, tally: "_Tally") -> None:
        """Batch by batch, with pauses as long: others get the database too."""
        while tally.batches < MAX_BATCHES:
            began = time.monotonic()
            dropped = await self._history.drop(documents, before, BATCH_ROWS)
            tally.rows += dropped
            tally.batches += 1
            if dropped < BATCH_ROWS:
                return
            await asyncio.sleep(time.monotonic() - began)

    # Blobs

    async def _reconcile(self, shard: int, most: int) -> int:
        found = await self._compare(shard)
        self._seen[shard] = (len(found.missing), len(found.ahead))
        _tell("checkpoint_blobs_missing", found.missing, "objects were deleted: bring them back from their versions")
        _tell("checkpoint_blobs_ahead", found.ahead, "the database is older than the object store: was it restored?")
        deleted = 0
        for key in found.orphans:
            # Asked again, because only now its age matters: what was just stored belongs to a checkpoint under way.
            if deleted < most and await self._blobs.list_keys(key, older_than_s=self._orphan_after_s):
                await self._blobs.delete(key)
                deleted += 1
        return deleted

    async def _compare(self, shard: int) -> _Shard:
        """What lies in a shard beside what the table names.

        The blobs are listed first and the table read after, so a checkpoint recorded in between is named; one recorded
        later is still ahead of what was read. Either way its blob is no orphan.
        """
        keys = await self._blobs.list_keys(f"crdt/{shard:02x}")
        first = shard << ID_BITS - SHARD_BITS
        named = await self._history.named(UUID(int=first), UUID(int=first | (1 << ID_BITS - SHARD_BITS) - 1))
        orphans, ahead = [], []
        for key, document, generation in _parsed(keys):
            known = named.get(document)
            if known is None or generation > known.newest + 1:
                ahead.append(key)
            elif generation <= known.newest and key not in known.keys:
                orphans.append(key)
        missing = [key for key in _names(named) - set(keys) if not await self._blobs.list_keys(key)]
        return _Shard(tuple(orphans), tuple(sorted(missing)), tuple(ahead))


def _parsed(keys: list[str]) -> Iterator[tuple[str, UUID, int]]:
    """Keys of checkpoints with their document and generation; what is named otherwise is none of ours."""
    for key in keys:
        if match := KEY.fullmatch(key):
            yield key, UUID(match["document"]), int(match["generation"])


def _names(named: dict[UUID, Named]) -> set[str]:
    return {key for each in named.values() for key in each.keys}


def _tell(event: str, keys: tuple[str, ...], detail: str) -> None:
    for key in keys[:MOST_TOLD]:
        log.error(event, key=key, of=len(keys), detail=detail)
