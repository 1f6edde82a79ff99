"""What every bus owes to the rooms: one suite, run on the in-process adapter and on Redis."""

import asyncio
from collections.abc import AsyncIterator, Callable
from uuid import UUID, uuid4

import pytest

from collab_server.bus import Bus, BusUnavailable, Envelope, EnvelopeKind
from collab_server.bus_memory import MemoryBus, MemoryNetwork
from collab_server.bus_redis import RedisBus
from collab_server.redis_link import LinkTimes
from tests.services.redis import RedisServer

PATIENCE_S = 10.0
TIMES = LinkTimes(call_s=2.0, longest_backoff_s=0.1)


class Cluster:
    """Several buses that reach each other until `cut`; `mend` ends the outage."""

    async def bus(self, task_id: str, *, max_queued_bytes: int = 1_000_000) -> Bus:
        raise NotImplementedError

    async def close(self) -> None:
        for bus in self.buses:
            await bus.close()

    def cut(self) -> None:
        raise NotImplementedError

    def mend(self) -> None:
        raise NotImplementedError

    def __init__(self) -> None:
        self.buses: list[Bus] = []


class MemoryCluster(Cluster):
    def __init__(self) -> None:
        super().__init__()
        self.network = MemoryNetwork()

    async def bus(self, task_id: str, *, max_queued_bytes: int = 1_000_000) -> Bus:
        bus = MemoryBus(task_id, self.network, max_queued_bytes=max_queued_bytes)
        await bus.start()
        self.buses.append(bus)
        return bus

    def cut(self) -> None:
        for bus in self.buses:
            self.network.cut(bus.task_id)

    def mend(self) -> None:
        for bus in self.buses:
            self.network.mend(bus.task_id)


class RedisCluster(Cluster):
    def __init__(self, server: RedisServer) -> None:
        super().__init__()
        self.server = server

    async def bus(self, task_id: str, *, max_queued_bytes: int = 1_000_000) -> Bus:
        bus = RedisBus(self.server.url, task_id, "test:", max_queued_bytes=max_queued_bytes, times=TIMES)
        await bus.start()
        self.buses.append(bus)
        await until_reachable(bus)
        return bus

    def cut(self) -> None:
        self.server.kill()

    def mend(self) -> None:
        self.server.start()


@pytest.fixture(params=["memory", "redis"])
async def cluster(request: pytest.FixtureRequest) -> AsyncIterator[Cluster]:
    made = MemoryCluster() if request.param == "memory" else RedisCluster(request.getfixturevalue("redis_server"))
    yield made
    await made.close()


class Heard:
    """Remembers what a bus delivers, and waits for it."""

    def __init__(self) -> None:
        self.envelopes: list[Envelope] = []

    def __call__(self, envelope: Envelope) -> None:
        self.envelopes.append(envelope)

    @property
    def bodies(self) -> list[bytes]:
        return [envelope.body for envelope in self.envelopes]


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not condition():  # noqa: ASYNC110 - conditions of other processes have no event
            await asyncio.sleep(0.002)


async def until_reachable(bus: Bus) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while True:
            try:
                return await bus.ping()
            except BusUnavailable:
                await asyncio.sleep(0.01)


async def until_unreachable(bus: Bus) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while True:
            try:
                await bus.ping()
            except BusUnavailable:
                return
            await asyncio.sleep(0.01)


def update(origin: str, document: UUID, body: bytes) -> Envelope:
    return Envelope(EnvelopeKind.UPDATE, document, origin, body)


async def pair(cluster: Cluster) -> tuple[Bus, Bus]:
    return await cluster.bus("one"), await cluster.bus("two")


async def test_an_envelope_reaches_the_other_task_unchanged(cluster: Cluster) -> None:
    one, two = await pair(cluster)
    heard, document = Heard(), uuid4()
    await two.subscribe(document, heard)
    sent = [Envelope(kind, document, "one", kind.encode() + b"\x00\r\n\xff") for kind in EnvelopeKind]
    for envelope in sent:
        one.publish(envelope)
    await until(lambda: heard.envelopes == sent)


async def test_everything_published_after_subscribe_returned_is_heard(cluster: Cluster) -> None:
    one, two = await pair(cluster)
    for _ in range(20):
        heard, document = Heard(), uuid4()
        await two.subscribe(document, heard)
        one.publish(update("one", document, b"first"))
        await until(lambda heard=heard: heard.bodies == [b"first"])


async def test_nobody_hears_inside_publish(cluster: Cluster) -> None:
    one, two = await pair(cluster)
    heard, document = Heard(), uuid4()
    await two.subscribe(document, heard)
    one.publish(update("one", document, b"x"))
    assert heard.envelopes == []
    await until(lambda: heard.bodies == [b"x"])


async def test_a_task_does_not_hear_itself(cluster: Cluster) -> None:
    one, two = await pair(cluster)
    own, others, document = Heard(), Heard(), uuid4()
    await one.subscribe(document, own)
    await two.subscribe(document, others)
    one.publish(update("one", document, b"mine"))
    await until(lambda: others.bodies == [b"mine"])
    two.publish(update("two", document, b"theirs"))
    await until(lambda: own.bodies == [b"theirs"])


async def test_a_document_hears_only_its_own_envelopes(cluster: Cluster) -> None:
    one, two = await pair(cluster)
    here, there = uuid4(), uuid4()
    heard_here, heard_there, heard_control = Heard(), Heard(), Heard()
    await two.subscribe(here, heard_here)
    await two.subscribe(there, heard_there)
    await two.subscribe(None, heard_control)
    one.publish(update("one", here, b"here"))
    one.publish(Envelope(EnvelopeKind.CONTROL, None, "one", b"kick"))
    one.publish(update("one", there, b"there"))
    await until(lambda: heard_there.bodies == [b"there"])
    assert (heard_here.bodies, heard_control.bodies) == ([b"here"], [b"kick"])


async def test_envelopes_of_one_task_arrive_in_order(cluster: Cluster) -> None:
    one, two = await pair(cluster)
    heard, document = Heard(), uuid4()
    await two.subscribe(document, heard)
    sent = [b"%d" % number for number in range(2_000)]
    for number, body in enumerate(sent):
        one.publish(update("one", document, body))
        if number % 100 == 0:
            await asyncio.sleep(0)
    await until(lambda: len(heard.envelopes) == len(sent))
    assert heard.bodies == sent


async def test_after_unsubscribe_nothing_is_heard(cluster: Cluster) -> None:
    one, two = await pair(cluster)
    left, stayed, document = Heard(), Heard(), uuid4()
    await two.subscribe(document, left)
    await two.subscribe(document, stayed)
    await two.unsubscribe(document, left)
    one.publish(update("one", document, b"x"))
    await until(lambda: stayed.bodies == [b"x"])
    await two.unsubscribe(document, stayed)
    await two.unsubscribe(document, stayed)
    await two.subscribe(None, stayed)
    one.publish(update("one", document, b"y"))
    one.publish(Envelope(EnvelopeKind.CONTROL, None, "one", b"z"))
    await until(lambda: b"z" in stayed.bodies)
    assert (left.bodies, stayed.bodies) == ([], [b"x", b"z"])


async def test_a_document_left_and_entered_at_once_is_heard(cluster: Cluster) -> None:
    one, two = await pair(cluster)
    heard, document = Heard(), uuid4()
    for _ in range(10):
        await two.subscribe(document, heard)
        await two.unsubscribe(document, heard)
    await two.subscribe(document, heard)
    one.publish(update("one", document, b"x"))
    await until(lambda: heard.bodies == [b"x"])


async def test_many_documents_are_entered_at_once(cluster: Cluster) -> None:
    one, two = await pair(cluster)
    heard, documents = Heard(), [uuid4() for _ in range(300)]
    await asyncio.gather(*(two.subscribe(document, heard) for document in documents))
    for document in documents:
        one.publish(update("one", document, document.bytes))
    await until(lambda: len(heard.envelopes) == len(documents))


async def test_a_receiver_that_fails_harms_nobody_else(cluster: Cluster) -> None:
    class Panic(BaseException):
        """What pycrdt raises when its core panics is no Exception."""

    def fail(envelope: Envelope) -> None:
        raise Panic if envelope.body == b"panic" else ValueError

    one, two = await pair(cluster)
    heard, document = Heard(), uuid4()
    await two.subscribe(document, fail)
    await two.subscribe(document, heard)
    one.publish(update("one", document, b"panic"))
    one.publish(update("one", document, b"error"))
    await until(lambda: heard.bodies == [b"panic", b"error"])


async def test_a_receiver_may_leave_while_it_is_called(cluster: Cluster) -> None:
    one, two = await pair(cluster)
    heard, document = Heard(), uuid4()
    leaving: list[asyncio.Task[None]] = []

    def leave(envelope: Envelope) -> None:
        leaving.append(asyncio.create_task(two.unsubscribe(document, leave)))

    await two.subscribe(document, leave)
    await two.subscribe(document, heard)
    one.publish(update("one", document, b"x"))
    await until(lambda: len(leaving) == 1)
    await asyncio.gather(*leaving)
    one.publish(update("one", document, b"y"))
    await until(lambda: heard.bodies == [b"x", b"y"])
    assert len(leaving) == 1


async def test_what_is_published_before_closing_still_goes_out(cluster: Cluster) -> None:
    one, two = await pair(cluster)
    heard, document = Heard(), uuid4()
    await two.subscribe(document, heard)
    one.publish(update("one", document, b"last words"))
    await one.close()
    await until(lambda: heard.bodies == [b"last words"])


async def test_a_closed_bus_leaves_no_task_and_may_be_closed_again(cluster: Cluster) -> None:
    before = asyncio.all_tasks()
    bus = await cluster.bus("one")
    await bus.subscribe(uuid4(), Heard())
    await bus.close()
    await bus.close()
    assert asyncio.all_tasks() == before


async def test_an_outage_is_seen_by_ping_and_its_end_is_announced(cluster: Cluster) -> None:
    one, two = await pair(cluster)
    told, heard, document = [], Heard(), uuid4()
    two.on_reconnect.append(lambda: told.append("two"))
    await two.subscribe(document, heard)
    await two.ping()
    cluster.cut()
    await until_unreachable(two)
    assert told == []
    cluster.mend()
    await until(lambda: told == ["two"])
    one.publish(update("one", document, b"after"))
    await until(lambda: b"after" in heard.bodies)


async def test_a_document_entered_during_an_outage_is_heard_after_it(cluster: Cluster) -> None:
    one, two = await pair(cluster)
    told, heard, document = [], Heard(), uuid4()
    two.on_reconnect.append(lambda: told.append("two"))
    cluster.cut()
    await until_unreachable(two)
    documents = [document, *(uuid4() for _ in range(20))]
    async with asyncio.timeout(TIMES.call_s * 10):  # at once: nobody waits for a server that is known to be away
        for each in documents:
            await two.subscribe(each, heard)
    cluster.mend()
    await until(lambda: bool(told))
    one.publish(update("one", document, b"after"))
    await until(lambda: b"after" in heard.bodies)


async def test_publishing_during_an_outage_keeps_the_newest_within_the_bound_and_counts_the_rest(
    cluster: Cluster,
) -> None:
    one, two = await cluster.bus("one", max_queued_bytes=10_000), await cluster.bus("two")
    told, heard, document = [], Heard(), uuid4()
    one.on_reconnect.append(lambda: told.append("one"))
    await two.subscribe(document, heard)
    cluster.cut()
    await until_unreachable(one)
    for number in range(50):
        one.publish(update("one", document, b"%03d" % number + bytes(1_000)))
    one.publish(update("one", document, bytes(20_000)))
    kept = 51 - one.dropped
    assert 5 <= kept <= 9
    cluster.mend()
    await until(lambda: bool(told))
    await until_reachable(two)
    one.publish(update("one", document, b"end"))
    await until(lambda: b"end" in heard.bodies)
    numbers = [int(body[:3]) for body in heard.bodies[:-1]]
    assert numbers == list(range(50))[len(range(50)) - len(numbers) :]
    assert len(numbers) <= kept


async def test_envelopes_given_up_for_lack_of_room_are_announced_too(cluster: Cluster) -> None:
    one, two = await cluster.bus("one", max_queued_bytes=10_000), await cluster.bus("two")
    told, heard, document = [], Heard(), uuid4()
    one.on_reconnect.append(lambda: told.append("one"))
    await two.subscribe(document, heard)
    for number in range(50):
        one.publish(update("one", document, b"%03d" % number + bytes(1_000)))
    await until(lambda: told == ["one"])
    await until(lambda: len(heard.envelopes) + one.dropped == 50)
    assert heard.bodies[-1].startswith(b"049")


def test_an_envelope_for_no_document_is_control() -> None:
    with pytest.raises(ValueError, match="belongs to a document"):
        Envelope(EnvelopeKind.UPDATE, None, "one", b"")


@pytest.mark.parametrize("task_id", ["", "x" * 64])
def test_a_task_id_has_1_to_63_characters(task_id: str) -> None:
    for make in (lambda: MemoryBus(task_id), lambda: RedisBus("redis://127.0.0.1:1", task_id)):
        with pytest.raises(ValueError, match="63 characters"):
            make()
