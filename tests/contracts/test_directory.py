"""What every directory owes to those who ask who is where: one suite, run in memory and on a real Redis."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from collab_server.redis_calls import RedisCalls
from collab_server.redis_link import LinkTimes
from presence.directory import ALIVE_S, Attendee, Directory, DirectoryUnavailable
from presence.directory_memory import Board, MemoryDirectory
from presence.directory_redis import RedisDirectory
from presence.roster import Person, Status
from tests.services.redis import RedisServer

TIMES = LinkTimes(call_s=2.0, longest_backoff_s=0.1)
DEMO, OTHER = "document:demo", "workspace:{7} ü"


class Cluster:
    """Several tasks with one directory, and what happens to it."""

    async def task(self, name: str) -> Directory:
        raise NotImplementedError

    async def fall_silent(self, name: str) -> None:
        """The task is silent for as long as others wait for it."""
        raise NotImplementedError

    async def lose(self) -> None:
        raise NotImplementedError

    async def cut(self) -> None:
        raise NotImplementedError

    async def mend(self) -> None:
        raise NotImplementedError

    async def close(self) -> None:
        return


class MemoryCluster(Cluster):
    def __init__(self) -> None:
        self.now = 1_000.0
        self.board = Board(lambda: self.now)
        self.tasks: dict[str, Directory] = {}

    async def task(self, name: str) -> Directory:
        return self.tasks.setdefault(name, MemoryDirectory(name, self.board))

    async def fall_silent(self, name: str) -> None:
        self.now += ALIVE_S * 0.6
        for other, directory in self.tasks.items():
            if other != name:
                assert await directory.beat()
        self.now += ALIVE_S * 0.6

    async def lose(self) -> None:
        self.board.lose()

    async def cut(self) -> None:
        self.board.away = True

    async def mend(self) -> None:
        self.board.away = False


class RedisCluster(Cluster):
    def __init__(self, server: RedisServer) -> None:
        self.server = server
        self.calls: list[RedisCalls] = []

    async def task(self, name: str) -> Directory:
        calls = RedisCalls(self.server.url, name, TIMES)
        await calls.start()
        self.calls.append(calls)
        return RedisDirectory(name, calls.call)

    async def fall_silent(self, name: str) -> None:
        """Nobody waits 10 s here: Redis is told that the time is over."""
        key = f"collab:{{presence}}:task:{name}/1"
        left_ms = int(self.server.command("PTTL", key)[1:])
        assert ALIVE_S * 500 < left_ms <= ALIVE_S * 1_000
        assert self.server.command("PEXPIRE", key, "0") == b":1\r\n"

    async def lose(self) -> None:
        self.server.command("FLUSHALL")

    async def cut(self) -> None:
        await asyncio.to_thread(self.server.kill)

    async def mend(self) -> None:
        await asyncio.to_thread(self.server.start)

    async def close(self) -> None:
        for calls in self.calls:
            await calls.close()


@pytest.fixture(params=["memory", "redis"])
async def cluster(request: pytest.FixtureRequest) -> AsyncIterator[Cluster]:
    made = MemoryCluster() if request.param == "memory" else RedisCluster(request.getfixturevalue("redis_server"))
    yield made
    await made.close()


def sits(
    subject: str, *, role: str = "editor", status: Status = Status.ACTIVE, devices: int = 1, since: float = 10.0
) -> Attendee:
    return Attendee(Person(subject, subject.title(), role), status, devices, since, since)


async def start(directory: Directory, **people: list[Attendee]) -> None:
    """A task that begins with these people in a place each."""
    await directory.begin()
    await directory.write({f"document:{name}": seats for name, seats in people.items()}, {})
    assert await directory.beat()


async def names(directory: Directory, place: str = DEMO) -> list[str]:
    return [each.person.subject for each in (await directory.at(place)).people]


async def until_answered(directory: Directory) -> None:
    async with asyncio.timeout(10):
        while True:
            try:
                return await directory.begin()
            except DirectoryUnavailable:
                await asyncio.sleep(0.01)


async def test_everyone_sees_who_sits_where_and_which_tasks_hold_the_place(cluster: Cluster) -> None:
    one, two = await cluster.task("one"), await cluster.task("two")
    ada, bob = sits("ada", since=20.0), sits("bob", role="viewer", status=Status.IDLE, devices=2)
    await start(one, demo=[ada])
    await start(two, demo=[bob], empty=[])
    for reader in (one, two):
        found = await reader.at(DEMO)
        assert found.people == (bob, ada)  # in the order they came
        assert found.tasks == {"one", "two"}
        assert (await reader.at("document:empty")).tasks == {"two"}
        assert (await reader.at("document:unknown")).tasks == frozenset()


async def test_one_person_on_two_tasks_is_one_entry(cluster: Cluster) -> None:
    """Devices add up, active anywhere is active, and the newest seat has the newest name and role."""
    one, two = await cluster.task("one"), await cluster.task("two")
    await start(one, demo=[Attendee(Person("ada", "Ada", "viewer"), Status.ACTIVE, 2, 10.0, 30.0)])
    await start(two, demo=[Attendee(Person("ada", "Ada L.", "editor"), Status.IDLE, 1, 20.0, 40.0)])
    together = Attendee(Person("ada", "Ada L.", "editor"), Status.ACTIVE, 3, 10.0, 40.0)
    assert (await one.at(DEMO)).people == (await two.at(DEMO)).people == (together,)


async def test_what_is_written_later_takes_the_place_of_what_was(cluster: Cluster) -> None:
    one, two = await cluster.task("one"), await cluster.task("two")
    await start(one, demo=[sits("ada")])
    await start(two, demo=[sits("bob")])
    await one.write({DEMO: [sits("ada"), sits("eve")], OTHER: [sits("eve")]}, {})
    assert await names(two) == ["ada", "bob", "eve"]
    assert await names(two, OTHER) == ["eve"]
    await one.write({DEMO: None, OTHER: []}, {})
    assert (await two.at(DEMO)).tasks == {"two"}
    assert (await two.at(OTHER)) == (await one.at(OTHER))
    assert (await two.at(OTHER)).tasks == {"one"}


async def test_where_somebody_is_is_known_on_every_task(cluster: Cluster) -> None:
    one, two = await cluster.task("one"), await cluster.task("two")
    for directory in (one, two):
        await directory.begin()
    await one.write({}, {"ada": [DEMO, OTHER], "bob": [DEMO]})
    await two.write({}, {"ada": ["document:b", DEMO]})
    assert await one.places_of("ada") == ()  # not shown yet
    assert await one.beat()
    assert await two.beat()
    assert await two.places_of("ada") == ("document:b", DEMO, OTHER)
    await one.write({}, {"ada": []})
    assert await two.places_of("ada") == ("document:b", DEMO)
    assert await two.places_of("nobody") == ()


async def test_nothing_of_a_page_is_seen_before_its_first_beat_and_then_all_of_it(cluster: Cluster) -> None:
    one, two = await cluster.task("one"), await cluster.task("two")
    await start(one, demo=[sits("ada")], gone=[sits("ada")])
    await start(two)
    await one.begin()
    await one.write({DEMO: [sits("bob")]}, {})
    assert await names(two) == ["ada"]
    assert await names(two, "document:gone") == ["ada"]
    assert await one.beat()
    assert await names(two) == ["bob"]
    assert (await two.at("document:gone")).tasks == frozenset()


async def test_a_task_that_is_silent_is_not_there(cluster: Cluster) -> None:
    one, two = await cluster.task("one"), await cluster.task("two")
    await start(one, demo=[sits("ada")])
    await one.write({}, {"ada": [DEMO]})
    await start(two, demo=[sits("bob")])
    await cluster.fall_silent("one")
    assert await names(two) == ["bob"]
    assert (await two.at(DEMO)).tasks == {"two"}
    assert await two.places_of("ada") == ()


async def test_a_task_that_was_taken_for_dead_is_told_so_and_writes_anew(cluster: Cluster) -> None:
    one, two = await cluster.task("one"), await cluster.task("two")
    await start(one, demo=[sits("ada")])
    await start(two)
    await cluster.fall_silent("one")
    assert await names(two) == []
    assert not await one.beat()
    assert not await one.beat()
    await start(one, demo=[sits("ada"), sits("bob")])
    assert await names(two) == ["ada", "bob"]
    assert await one.beat()


async def test_a_task_that_leaves_is_gone_at_once(cluster: Cluster) -> None:
    one, two = await cluster.task("one"), await cluster.task("two")
    await start(one, demo=[sits("ada")])
    await start(two, demo=[sits("bob")])
    await one.leave()
    assert await names(two) == ["bob"]
    assert not await one.beat()


async def test_a_directory_that_lost_everything_says_so(cluster: Cluster) -> None:
    one = await cluster.task("one")
    await start(one, demo=[sits("ada")])
    await cluster.lose()
    assert await names(one) == []
    assert not await one.beat()
    await start(one, demo=[sits("ada")])
    assert await names(one) == ["ada"]


async def test_an_outage_makes_nobody_wait_and_is_over_with_the_next_page(cluster: Cluster) -> None:
    one = await cluster.task("one")
    await start(one, demo=[sits("ada")])
    await cluster.cut()
    for call in (
        one.beat,
        one.leave,
        lambda: one.at(DEMO),
        lambda: one.places_of("ada"),
        lambda: one.write({DEMO: []}, {}),
    ):
        async with asyncio.timeout(TIMES.call_s * 2):
            with pytest.raises(DirectoryUnavailable):
                await call()
    await cluster.mend()
    await until_answered(one)
    await start(one, demo=[sits("bob")])
    assert await names(one) == ["bob"]


async def test_a_thousand_places_with_a_thousand_people_are_written_and_read(cluster: Cluster) -> None:
    one = await cluster.task("one")
    crowd = [sits(f"person-{number:04}", since=float(number)) for number in range(1_000)]
    await one.begin()
    await one.write({f"document:{number}": crowd[number : number + 1] for number in range(1_000)} | {DEMO: crowd}, {})
    assert await one.beat()
    assert (await one.at(DEMO)).people == tuple(crowd)
    assert await names(one, "document:999") == ["person-0999"]
