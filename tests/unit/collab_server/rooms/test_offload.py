"""The queue for the worker processes is bounded, and a worker that fails costs whoever needed it, nobody else."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest

from collab_server.errors import Close, Refused
from collab_server.rooms.offload import MAX_WAITING_BYTES, MAX_WAITING_JOBS, Offload
from collab_server.wire.messages import Update
from persistence.sandbox import Sandbox
from tests.unit.collab_server.rooms.parts import house, until
from tests.unit.collab_server.rooms.test_big_documents import BIG, clocks_of, document, typed, updates_in

NOTHING = b"\x00\x00"


@asynccontextmanager
async def offloading() -> AsyncIterator[Offload]:
    sandbox = Sandbox(max_workers=1)
    try:
        yield Offload(sandbox, big_update_bytes=1, timeout_s=60)
    finally:
        await sandbox.close()


async def under_way(offload: Offload, *updates: bytes) -> list[asyncio.Task[object]]:
    """Checks that have begun to wait for a worker."""
    tasks = [asyncio.create_task(_check(offload, update)) for update in updates]
    await asyncio.sleep(0)  # each runs up to where it waits
    return tasks


async def _check(offload: Offload, update: bytes) -> object:
    return await offload.check(update, {})


async def test_of_too_many_big_updates_at_once_the_next_one_is_told_to_come_back() -> None:
    async with offloading() as offload:
        tasks = await under_way(offload, *[NOTHING] * MAX_WAITING_JOBS)
        with pytest.raises(Refused) as refused:
            await offload.check(NOTHING, {})
        assert refused.value.reason is Close.ROOM_UNAVAILABLE
        assert refused.value.reason.retry
        await asyncio.gather(*tasks)
        await offload.check(NOTHING, {})


async def test_the_bytes_that_wait_are_bounded_too_and_free_again_when_nobody_waits() -> None:
    large = bytes(MAX_WAITING_BYTES // 2)
    async with offloading() as offload:
        tasks = await under_way(offload, large, large)
        with pytest.raises(Refused) as refused:
            await offload.check(NOTHING, {})
        assert refused.value.reason is Close.ROOM_UNAVAILABLE
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        await offload.check(NOTHING, {})


async def killed_when_it_begins(sandbox: Sandbox) -> None:
    """End the worker of the call that comes next."""
    known = sandbox.worker_pids
    await until(lambda: sandbox.worker_pids - known)
    for pid in sandbox.worker_pids - known:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


async def test_a_worker_that_dies_over_a_big_update_costs_its_sender_the_connection_and_the_room_nothing() -> None:
    async with house() as home:
        room = await home.room()
        author, other, reader = home.join(room), home.join(room), home.join(room)
        author.send(Update(BIG))
        await killed_when_it_begins(home.splitters)
        await until(lambda: not author.member.is_held)
        assert [refusal.reason for refusal in author.refusals] == [Close.ROOM_UNAVAILABLE]
        assert room.clocks == {}
        other.send(Update(typed("all is well")))
        assert len(updates_in(reader.messages)) == 1
        again = home.join(room)
        again.send(Update(BIG))
        await until(lambda: again.transport.pauses == [True, False])
        assert not again.refusals
        assert clocks_of(BIG).items() <= room.clocks.items()


async def test_what_waited_behind_a_big_update_that_failed_has_no_effect_once_its_sender_is_gone() -> None:
    async with house() as home:
        room = await home.room()
        author, reader = home.join(room), home.join(room)

        def close(refusal: Refused) -> None:
            author.refusals.append(refusal)
            room.leave(author.member)  # as a connection does

        author.member._close = close
        author.send(Update(BIG))
        author.send(Update(typed("behind")))
        await killed_when_it_begins(home.splitters)
        await until(lambda: not author.member.is_held)
        assert [refusal.reason for refusal in author.refusals] == [Close.ROOM_UNAVAILABLE]
        assert not updates_in(reader.messages)


async def test_a_worker_that_dies_while_a_document_is_opened_is_no_empty_document() -> None:
    async with house() as home:
        room = await home.room()
        author = home.join(room)
        author.send(Update(BIG))
        await until(lambda: author.transport.pauses == [True, False])
        await home.recorder.flush()
        async with house(storage=home) as restarted:
            opening = asyncio.create_task(restarted.room())
            await killed_when_it_begins(restarted.splitters)
            with pytest.raises(Refused) as refused:
                await opening
            assert refused.value.reason is Close.ROOM_UNAVAILABLE
            assert not restarted.registry.rooms
            again = await restarted.room()
            assert again.clocks == clocks_of(BIG)
            assert document([again.diff(b"\x00")]).get_update() == BIG
