"""Calls to Redis: each caller gets its own answers, whoever else is cancelled, late or refused (CVE-2023-28858)."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator

import pytest

from collab_server.redis_calls import MOST_WAITING, RedisAway, RedisCalls
from collab_server.redis_link import LinkTimes
from tests.services.redis import RedisServer

TIMES = LinkTimes(call_s=0.5, longest_backoff_s=0.05)


@pytest.fixture
async def calls(redis_server: RedisServer) -> AsyncIterator[RedisCalls]:
    made = RedisCalls(redis_server.url, "test", TIMES)
    await made.start()
    await until_answered(made)
    yield made
    await made.close()


async def until_answered(calls: RedisCalls) -> None:
    async with asyncio.timeout(10):
        while True:
            try:
                await calls.call([(b"PING",)])
                return
            except RedisAway:
                await asyncio.sleep(0.01)


async def test_the_answers_are_those_of_the_commands_in_their_order(calls: RedisCalls) -> None:
    assert await calls.call([(b"SET", b"a", b"1"), (b"GET", b"a"), (b"GET", b"b"), (b"ECHO", b"x\r\n")]) == [
        b"OK",
        b"1",
        None,
        b"x\r\n",
    ]


async def test_a_caller_that_is_cancelled_at_any_moment_leaves_no_answer_to_another(calls: RedisCalls) -> None:
    chance = random.Random(4711)

    async def echo(number: int) -> None:
        word = b"%d" % number
        assert await calls.call([(b"ECHO", word)] * 3) == [word] * 3

    for start in range(0, 600, 30):
        callers = [asyncio.create_task(echo(number)) for number in range(start, start + 30)]
        for _ in range(chance.randrange(6)):
            await asyncio.sleep(0)
        cancelled = chance.sample(callers, 10)
        for caller in cancelled:
            caller.cancel()
        ends = await asyncio.gather(*callers, return_exceptions=True)
        assert [end for end in ends if end is not None and not isinstance(end, asyncio.CancelledError)] == []
    assert await calls.call([(b"ECHO", b"last")]) == [b"last"]


async def test_a_refused_command_fails_its_caller_alone(calls: RedisCalls) -> None:
    refused, fine = await asyncio.gather(
        calls.call([(b"SET", b"a", b"1"), (b"HGET", b"a", b"b"), (b"GET", b"a")]),
        calls.call([(b"ECHO", b"mine")]),
        return_exceptions=True,
    )
    assert isinstance(refused, RedisAway)
    assert "WRONGTYPE" in str(refused)
    assert fine == [b"mine"]


async def test_a_redis_that_hangs_costs_a_caller_its_patience_and_later_ones_nothing(
    calls: RedisCalls, redis_server: RedisServer
) -> None:
    redis_server.pause()
    async with asyncio.timeout(TIMES.call_s * 4):
        with pytest.raises(RedisAway):
            await calls.call([(b"ECHO", b"lost")])
    redis_server.resume()
    await until_answered(calls)
    assert await calls.call([(b"ECHO", b"found")]) == [b"found"]


async def test_nobody_waits_for_a_redis_that_is_known_to_be_away(calls: RedisCalls, redis_server: RedisServer) -> None:
    redis_server.kill()
    with pytest.raises(RedisAway):
        await calls.call([(b"PING",)])
    begun = asyncio.get_running_loop().time()
    refusals = 0
    for _ in range(100):
        try:
            await calls.call([(b"PING",)])
        except RedisAway:
            refusals += 1
    assert refusals == 100
    assert asyncio.get_running_loop().time() - begun < TIMES.call_s * 4


async def test_what_waits_is_bounded(calls: RedisCalls, redis_server: RedisServer) -> None:
    redis_server.pause()
    waiting = [asyncio.create_task(calls.call([(b"PING",)])) for _ in range(MOST_WAITING + 50)]
    ends = await asyncio.gather(*waiting, return_exceptions=True)
    assert {str(end) for end in ends} >= {"too much waits for Redis"}
    assert all(isinstance(end, RedisAway) for end in ends)
    redis_server.resume()


async def test_after_the_end_nobody_waits(redis_server: RedisServer) -> None:
    calls = RedisCalls(redis_server.url, "test", TIMES)
    await calls.start()
    redis_server.pause()
    waiting = [asyncio.create_task(calls.call([(b"PING",)])) for _ in range(3)]
    await asyncio.sleep(0)
    await calls.close()
    redis_server.resume()
    ends = await asyncio.gather(*waiting, return_exceptions=True)
    assert all(isinstance(end, RedisAway) for end in ends)
