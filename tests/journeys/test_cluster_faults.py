"""Two tasks, one document, and what happens between them: everyone is equal 5 s after it is over (F03, F04, F09, F14).

People write at both tasks all the while, and every edit is acknowledged. The sizes are small; `make cluster-faults`
runs the real ones.
"""

from __future__ import annotations

import asyncio
import os
import re
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import redis.asyncio

from chaos.checker import Verdict
from tests.services.crowd import EQUAL_WITHIN_S, Crowd
from tests.services.faulty_cluster import Cluster, loop_lag, waited_s
from tests.services.redis import RedisServer
from tests.services.running import admin_get, until

pytestmark = [pytest.mark.xdist_group("cluster"), pytest.mark.timeout(600)]

IS_LARGE = "COLLAB_TEST_CLUSTER" in os.environ
PARTED_S = 30.0 if IS_LARGE else 1.5
BAD_FOR_S = 30.0 if IS_LARGE else 1.5
REDIS_AWAY_S = (0.1, 1.0, 5.0, 30.0, 60.0) if IS_LARGE else (0.1, 1.2)
LONGEST_LAG_S = 0.1
REFUSED = re.compile(r'^collab_bus_(?:refused_total{reason="([a-z_]+)"}|doubled_total) (\S+)', re.MULTILINE)


@asynccontextmanager
async def people_at_both_tasks(cluster: Cluster, document: str) -> AsyncIterator[Crowd]:
    """They write. In the end all copies are equal in time, nothing acknowledged is lost, and no loop was held up."""
    async with loop_lag(cluster) as lag, Crowd(cluster, document) as crowd:
        await crowd.type_for(0.3)
        yield crowd
        waited = sum(map(waited_s, cluster.tasks))
        took_s = await crowd.equal_after_s()
        waited = sum(map(waited_s, cluster.tasks)) - waited
        verdict = await crowd.verdict()
        edits, waits_s = crowd.ledger.acknowledgements, sorted(crowd.waits_s)
    lags_ms = f"{lag.longest_s * 1000:.0f} ms ({lag.longest_in_all_s * 1000:.0f} with waiting for a processor)"
    p99_ms = waits_s[int(len(waits_s) * 0.99)] * 1000
    print(f"{document}: {edits} edits, p99 {p99_ms:.0f} ms; equal after {took_s:.2f} s; loop late by {lags_ms}")
    assert verdict == Verdict()
    assert took_s - waited <= EQUAL_WITHIN_S  # others who had the processor meanwhile prove nothing
    assert lag.longest_s <= LONGEST_LAG_S


# T21


async def test_garbage_forgeries_and_recordings_on_the_bus_are_dropped_and_counted(cluster: Cluster) -> None:
    """Somebody got into Redis, and has no key."""
    intruder = redis.asyncio.from_url(cluster.redis.url)
    ear = intruder.pubsub()
    try:
        async with people_at_both_tasks(cluster, "intruded") as crowd:
            await ear.psubscribe("*room*")
            recorded = [(message["channel"], message["data"]) for message in [await heard(ear) for _ in range(40)]]
            counted = await refused(cluster)
            for channel, message in recorded:
                await intruder.publish(channel, os.urandom(len(message)))
                await intruder.publish(channel, message[:-1] + bytes((message[-1] ^ 1,)))
                await intruder.publish(channel, message)
            await crowd.type_for(0.2)

            async def all_are_counted() -> bool:
                return (await refused(cluster))["all"] >= counted["all"] + 4 * len(recorded)

            await until(all_are_counted)  # what is no envelope at both tasks, what is one of theirs at the other
            reasons = (await refused(cluster)) - counted
            assert reasons["doubled"] >= len(recorded)
            assert reasons["all"] - reasons["doubled"] >= 3 * len(recorded)
    finally:
        await ear.aclose()
        await intruder.aclose()


async def heard(ear: redis.asyncio.client.PubSub) -> dict[str, Any]:
    """The next message of another's."""
    while True:
        message = await ear.get_message(ignore_subscribe_messages=True, timeout=20)
        if message is not None:
            return dict(message)


async def refused(cluster: Cluster) -> Counter[str]:
    """What both tasks have refused of the bus, by reason, and heard twice."""
    found: Counter[str] = Counter()
    for task in cluster.tasks:
        _status, body = await asyncio.to_thread(admin_get, task, "/metrics")
        for reason, number in REFUSED.findall(body.decode()):
            found[reason or "doubled"] += int(float(number))
            found["all"] += int(float(number))
    return found


# F03


@pytest.mark.parametrize("away_s", REDIS_AWAY_S)
async def test_redis_is_killed_and_comes_back(cluster: Cluster, away_s: float) -> None:
    async with people_at_both_tasks(cluster, f"killed-{away_s}") as crowd:
        cluster.redis.kill()
        await crowd.type_for(away_s)
        await asyncio.to_thread(cluster.redis.start)


# F04


async def test_redis_hangs_and_goes_on(cluster: Cluster) -> None:
    async with people_at_both_tasks(cluster, "hangs") as crowd:
        cluster.redis.pause()
        try:
            await crowd.type_for(BAD_FOR_S)
        finally:
            cluster.redis.resume()


async def test_redis_lets_nobody_in(cluster: Cluster) -> None:
    async with people_at_both_tasks(cluster, "refused") as crowd:
        for way in cluster.ways:
            way.refuse()
        await crowd.type_for(BAD_FOR_S)
        for way in cluster.ways:
            way.accept()


async def test_a_replica_takes_over_from_redis_at_one_task_after_the_other(cluster: Cluster, tmp_path: Path) -> None:
    """For a while one task talks to a read-only replica and the other to the old master: neither hears the other."""
    replica = RedisServer(tmp_path)
    await asyncio.to_thread(replica.start)
    try:
        replica.command("REPLICAOF", "127.0.0.1", str(cluster.redis.port))
        async with people_at_both_tasks(cluster, "failover") as crowd:
            for way in cluster.ways:
                way.target_port = replica.port
                way.cut()
                await crowd.type_for(BAD_FOR_S / 4)
            replica.command("REPLICAOF", "NO", "ONE")
            await crowd.type_for(BAD_FOR_S / 4)
    finally:
        for way in cluster.ways:
            way.target_port = cluster.redis.port
            way.cut()
        replica.kill()


# F14


async def test_one_task_is_parted_from_the_other(cluster: Cluster) -> None:
    async with people_at_both_tasks(cluster, "parted") as crowd:
        cluster.ways[0].hold()
        await crowd.type_for(PARTED_S)
        cluster.ways[0].release()


# F09


async def test_a_fifth_of_all_messages_is_lost_and_a_fifth_comes_twice_or_late_or_changed(cluster: Cluster) -> None:
    async with people_at_both_tasks(cluster, "lossy") as crowd:
        for way in cluster.ways:
            way.done.clear()
            way.lost = way.doubled = way.late = way.corrupted = 0.2
        await crowd.type_for(BAD_FOR_S)
        await crowd.be_quiet()  # so that the last words were said on the bad bus
        for way in cluster.ways:
            assert min(way.done[what] for what in ("lost", "doubled", "late", "corrupted")) > 0
            way.be_well()
