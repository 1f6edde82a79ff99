"""F16: a thousand random corruptions of checkpoints: none is taken for the document, and nothing is lost by one."""

import hashlib
import random
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import pytest_asyncio

from persistence.blobs import Blobs
from persistence.blobs_directory import DirectoryBlobs
from persistence.blobs_memory import MemoryBlobs
from persistence.checkpoints import Checkpoint
from persistence.compression import compress
from persistence.documents import DocumentUnloadable
from tests.corpus.hostile import one_value
from tests.unit.persistence.authors import Author
from tests.unit.persistence.stores import Stores, memory_stores

CORRUPTIONS = 1_000
WORDS = ("one ", "two ", "three ", "four ", "five ")
EXPECTED = "".join(WORDS)

Corrupt = Callable[[bytes, random.Random], bytes | None]
"""Other bytes in place of a blob's; None: the blob is gone."""


def flip_bits(body: bytes, chance: random.Random) -> bytes:
    flipped = bytearray(body)
    for _ in range(chance.choice((1, 1, 1, 2, 8))):
        flipped[chance.randrange(len(body))] ^= 1 << chance.randrange(8)
    return bytes(flipped)


def truncate(body: bytes, chance: random.Random) -> bytes:
    return body[: chance.randrange(len(body))]


def append(body: bytes, chance: random.Random) -> bytes:
    return body + chance.randbytes(chance.randint(1, 64))


def blank_a_stretch(body: bytes, chance: random.Random) -> bytes:
    start = chance.randrange(len(body))
    end = start + chance.randint(1, 16)
    return body[:start] + bytes(len(body[start:end])) + body[end:]


def swap_a_stretch(body: bytes, chance: random.Random) -> bytes:
    middle = chance.randrange(1, len(body))
    return body[middle:] + body[:middle]


def random_bytes(body: bytes, chance: random.Random) -> bytes:
    return chance.randbytes(len(body))


def depth_bomb(_body: bytes, chance: random.Random) -> bytes:
    """A valid zstd frame of an update that overflows the stack of whoever decodes it."""
    return compress(one_value(b"\x75\x01" * chance.randint(30_000, 60_000) + b"\x7e"))


def anothers(_body: bytes, chance: random.Random) -> bytes:
    """A good checkpoint, but of somebody else's document."""
    other = Author(chance.randint(10, 2**31)).write("someone else's secret")
    return compress(other.document.get_update())


def an_older_state(_body: bytes, _chance: random.Random) -> bytes:
    """A good checkpoint of this very document, but of an hour ago: decoding would find nothing wrong with it."""
    return compress(Author(5).write(WORDS[0]).document.get_update())


def remove(_body: bytes, _chance: random.Random) -> None:
    return None


CORRUPTS: tuple[Corrupt, ...] = (
    flip_bits,
    flip_bits,
    flip_bits,
    truncate,
    append,
    blank_a_stretch,
    swap_a_stretch,
    random_bytes,
    depth_bomb,
    anothers,
    an_older_state,
    remove,
)


@pytest_asyncio.fixture(params=["memory", "directory"])
async def blobs(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Blobs]:
    store: Blobs = MemoryBlobs() if request.param == "memory" else DirectoryBlobs(tmp_path)
    yield store
    await store.close()


async def generations(stores: Stores) -> list[tuple[Checkpoint, bytes]]:
    """The kept generations, newest first, with what lies under their keys."""
    kept = (await stores.table.snapshot(stores.document.id)).generations
    return [(checkpoint, await stores.blobs.get(checkpoint.key)) for checkpoint in kept]


async def corrupt(stores: Stores, checkpoint: Checkpoint, body: bytes, chance: random.Random) -> bool:
    """Do something to a blob; say whether it is another one now."""
    bad = chance.choice(CORRUPTS)(body, chance)
    if bad is None:
        await stores.blobs.delete(checkpoint.key)
    else:
        await stores.blobs.put(checkpoint.key, bad)
    return bad != body


async def test_of_a_thousand_corruptions_none_is_accepted_and_none_loses_anything(blobs: Blobs) -> None:
    """Rows of the first generations are dropped, so that only an intact generation can save the document."""
    chance = random.Random(1616)
    stores = await memory_stores(blobs)
    author = Author(5)
    for word in WORDS[:-1]:
        await stores.write_and_fold(author, word)
    await stores.forget()
    await stores.journal_all(author.write(WORDS[-1]), start=len(WORDS) - 1)
    kept = await generations(stores)
    assert len(kept) == 3
    corruptions = refused = 0
    while corruptions < CORRUPTIONS / 2:
        hit = chance.sample(kept, chance.randint(1, 3))
        changed = {checkpoint.generation for checkpoint, body in hit if await corrupt(stores, checkpoint, body, chance)}
        corruptions += len(changed)
        if len(changed) == len(kept):
            with pytest.raises(DocumentUnloadable) as unloadable:
                await stores.documents.load(stores.document)
            assert not unloadable.value.temporary
            refused += 1
        else:
            stored = await stores.documents.load(stores.document)
            assert stored.generation == max(
                checkpoint.generation for checkpoint, _ in kept if checkpoint.generation not in changed
            )
            assert hashlib.sha256(compress(stored.checkpoint or b"")).digest() in {each.sha256 for each, _ in kept}
            assert await stores.text() == EXPECTED
        for checkpoint, body in hit:
            await stores.blobs.put(checkpoint.key, body)
    assert refused > 20


async def test_while_every_row_is_there_no_corruption_at_all_loses_anything(blobs: Blobs) -> None:
    chance = random.Random(1617)
    stores = await memory_stores(blobs)
    author = Author(5)
    for word in WORDS:
        await stores.write_and_fold(author, word)
    kept = await generations(stores)
    for _ in range(20):
        for checkpoint, body in kept:
            await corrupt(stores, checkpoint, body, chance)
        assert await stores.text() == EXPECTED
