"""What only the Redis bus can do wrong: strangers on the channel, a server that hangs, cancelled callers, cut links."""

import asyncio
import random
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Self
from uuid import UUID, uuid4

import hiredis
import pytest

from collab_server.bus import BusUnavailable, Envelope, EnvelopeKind
from collab_server.bus_gate import BusTallies, Gate
from collab_server.bus_redis import RedisBus
from collab_server.bus_redis_publisher import Packed, Publisher
from collab_server.redis_link import LinkTimes, command
from tests.services.redis import RedisServer
from tests.services.tcp_relay import Relay

PATIENCE_S = 10.0
PATIENT = LinkTimes(call_s=2.0, longest_backoff_s=0.1)
HASTY = LinkTimes(call_s=0.6, heartbeat_s=0.3, longest_backoff_s=0.1)
MakeBus = Callable[..., Awaitable[RedisBus]]


@pytest.fixture
async def make_bus(redis_server: RedisServer) -> AsyncIterator[MakeBus]:
    """Makes started buses on the test's own server and closes them."""
    made: list[RedisBus] = []

    async def make(task_id: str, key: bytes | None = None, times: LinkTimes = PATIENT) -> RedisBus:
        bus = RedisBus(redis_server.url, task_id, "test:", hmac_keys=(key,) if key else (), times=times)
        made.append(bus)
        await bus.start()
        await until_reachable(bus)
        return bus

    yield make
    for bus in made:
        await bus.close()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not condition():  # noqa: ASYNC110 - conditions of other processes have no event
            await asyncio.sleep(0.002)


async def until_reachable(bus: RedisBus) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while True:
            with suppress(BusUnavailable):
                return await bus.ping()
            await asyncio.sleep(0.01)


def update(origin: str, document: UUID, body: bytes) -> Envelope:
    return Envelope(EnvelopeKind.UPDATE, document, origin, body)


def sealed(envelope: Envelope, *keys: bytes) -> bytes:
    """As a task of this version would publish it."""
    [(wire, _envelopes)] = Gate(envelope.origin, lambda: 0, keys).seal([envelope])
    return wire


class ScriptedRedis:
    """Answers a pub/sub connection only when, and what, the test says; everything else gets +OK."""

    def __init__(self) -> None:
        self.asked: list[bytes] = []
        self.port = 0
        self._subscriber: asyncio.StreamWriter | None = None
        self._open: list[asyncio.StreamWriter] = []

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for writer in self._open:
            writer.close()
        await self._server.wait_closed()

    def answer(self, kind: bytes, channel: bytes, last: bytes | int) -> None:
        assert self._subscriber is not None
        tail = b":%d\r\n" % last if isinstance(last, int) else b"$%d\r\n%b\r\n" % (len(last), last)
        head = b"".join(b"$%d\r\n%b\r\n" % (len(part), part) for part in (kind, channel))
        self._subscriber.write(b"*3\r\n" + head + tail)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open.append(writer)
        parser = hiredis.Reader()
        while chunk := await reader.read(65_536):
            parser.feed(chunk)
            while (request := parser.gets()) is not False:
                if request[0] in (b"SUBSCRIBE", b"UNSUBSCRIBE"):
                    self._subscriber = writer
                    self.asked.append(request[0])
                else:
                    writer.write(b"+OK\r\n")
        writer.close()


def pings(server: RedisServer) -> int:
    """How many PING commands the server has answered."""
    found = re.search(rb"cmdstat_ping:calls=(\d+)", server.command("INFO", "commandstats"))
    return int(found[1]) if found else 0


def channel(document: UUID) -> str:
    return f"test:room:{{{document}}}"


async def test_garbage_on_a_channel_is_counted_and_dropped(make_bus: MakeBus, redis_server: RedisServer) -> None:
    bus, heard, document = await make_bus("one"), list[Envelope](), uuid4()
    await bus.subscribe(document, heard.append)
    for garbage in (b"", b"\x01", b"\xff" * 100, b"not an envelope", sealed(update("two", document, b"x"), b"key")):
        redis_server.command("PUBLISH", channel(document), garbage)
    redis_server.command("PUBLISH", channel(document), sealed(update("two", document, b"good")))
    await until(lambda: [envelope.body for envelope in heard] == [b"good"])
    assert bus.malformed == 5


async def test_an_envelope_of_another_room_is_counted_and_dropped(make_bus: MakeBus, redis_server: RedisServer) -> None:
    bus, heard, document, other = await make_bus("one"), list[Envelope](), uuid4(), uuid4()
    await bus.subscribe(document, heard.append)
    await bus.subscribe(other, heard.append)
    redis_server.command("PUBLISH", channel(document), sealed(update("two", other, b"moved")))
    redis_server.command("PUBLISH", channel(document), sealed(Envelope(EnvelopeKind.CONTROL, None, "two", b"moved")))
    await until(lambda: bus.malformed == 2)
    assert heard == []


async def test_with_a_key_only_envelopes_signed_with_it_are_heard(make_bus: MakeBus) -> None:
    bus, heard, document = await make_bus("one", b"secret"), list[Envelope](), uuid4()
    await bus.subscribe(document, heard.append)
    for task_id, key in (("two", None), ("three", b"other"), ("four", b"secret")):
        (await make_bus(task_id, key)).publish(update(task_id, document, task_id.encode()))
    await until(lambda: bus.malformed == 2 and len(heard) == 1)
    assert heard[0].origin == "four"


async def test_a_bus_starts_while_redis_is_away(make_bus: MakeBus, redis_server: RedisServer) -> None:
    redis_server.stop()
    bus, heard, document = RedisBus(redis_server.url, "one", "test:", times=PATIENT), list[Envelope](), uuid4()
    told: list[None] = []
    bus.on_reconnect.append(lambda: told.append(None))
    await bus.start()
    await bus.subscribe(document, heard.append)
    bus.publish(update("one", document, b"early"))
    with pytest.raises(BusUnavailable):
        await bus.ping()
    redis_server.start()
    await until(lambda: bool(told))
    (await make_bus("two")).publish(update("two", document, b"x"))
    await until(lambda: [envelope.body for envelope in heard] == [b"x"])
    await bus.close()


async def test_a_lost_subscription_is_renewed_before_the_rooms_are_told(
    make_bus: MakeBus, redis_server: RedisServer
) -> None:
    one, two, heard, document = await make_bus("one"), await make_bus("two"), list[Envelope](), uuid4()
    await two.subscribe(document, heard.append)
    await two.subscribe(None, heard.append)
    # Published from inside the announcement: whatever is sent once the rooms know must be heard.
    two.on_reconnect.append(lambda: one.publish(update("one", document, b"after")))
    redis_server.command("CLIENT", "KILL", "TYPE", "pubsub")
    await until(lambda: [envelope.body for envelope in heard] == [b"after"])


async def test_a_broken_publishing_connection_loses_nothing_and_keeps_the_order(
    make_bus: MakeBus, redis_server: RedisServer
) -> None:
    one, two, heard, document = await make_bus("one"), await make_bus("two"), list[int](), uuid4()
    await two.subscribe(document, lambda envelope: heard.append(int(envelope.body)))
    for number in range(2_000):
        one.publish(update("one", document, b"%d" % number))
        if number % 200 == 100:
            redis_server.command("CLIENT", "KILL", "TYPE", "normal")
            await asyncio.sleep(0)
    await until(lambda: bool(heard) and heard[-1] == 1_999)
    assert list(dict.fromkeys(heard)) == list(range(2_000))  # a batch of unknown outcome is sent twice
    assert one.dropped == 0


async def test_a_hanging_redis_never_holds_the_loop_and_is_given_up(
    make_bus: MakeBus, redis_server: RedisServer
) -> None:
    one, two = await make_bus("one", times=HASTY), await make_bus("two", times=HASTY)
    heard, document = list[Envelope](), uuid4()
    await two.subscribe(document, heard.append)
    told: list[None] = []
    two.on_reconnect.append(lambda: told.append(None))
    redis_server.pause()
    loop = asyncio.get_running_loop()
    worst, began = 0.0, loop.time()
    while loop.time() - began < 3 * HASTY.call_s:
        turn = loop.time()
        one.publish(update("one", document, bytes(100_000)))
        await asyncio.sleep(0.001)
        worst = max(worst, loop.time() - turn)
    with pytest.raises(BusUnavailable):
        await two.ping()
    assert worst < HASTY.call_s - 0.05, "the loop was held for as long as a call waits"
    redis_server.resume()
    await until(lambda: bool(told))
    await until_reachable(one)
    one.publish(update("one", document, b"after"))
    await until(lambda: bool(heard) and heard[-1].body == b"after")


async def test_a_subscription_confirmed_too_late_is_announced(make_bus: MakeBus, redis_server: RedisServer) -> None:
    patient = LinkTimes(call_s=0.2, heartbeat_s=30.0)
    bus, heard, document = RedisBus(redis_server.url, "one", "test:", times=patient), list[Envelope](), uuid4()
    told: list[None] = []
    bus.on_reconnect.append(lambda: told.append(None))
    await bus.start()
    await until_reachable(bus)
    redis_server.pause()
    async with asyncio.timeout(PATIENCE_S):
        await bus.subscribe(document, heard.append)
    assert told == []
    redis_server.resume()
    await until(lambda: told == [None])
    (await make_bus("two")).publish(update("two", document, b"x"))
    await until(lambda: len(heard) == 1)
    await bus.close()


async def test_an_idle_connection_is_probed_and_kept(make_bus: MakeBus, redis_server: RedisServer) -> None:
    bus, told = await make_bus("one", times=LinkTimes(heartbeat_s=0.4)), list[None]()
    bus.on_reconnect.append(lambda: told.append(None))
    for document in (None, uuid4()):  # Redis answers a probe differently before and after the first subscription
        probes = pings(redis_server)
        await until(lambda probes=probes: pings(redis_server) >= probes + 2)
        await bus.subscribe(document, lambda envelope: None)
    await bus.ping()
    assert told == []


async def test_a_link_that_went_silent_is_replaced(redis_server: RedisServer) -> None:
    """A firewall or a moved address drops packets without a word: no end of the connection is ever seen."""
    heard, document, told = list[Envelope](), uuid4(), list[None]()
    async with Relay(redis_server.port) as relay:
        url = f"redis://127.0.0.1:{relay.port}"
        one, two = (RedisBus(url, task_id, "test:", times=HASTY) for task_id in ("one", "two"))
        for bus in (one, two):
            await bus.start()
            await until_reachable(bus)
        two.on_reconnect.append(lambda: told.append(None))
        await two.subscribe(document, heard.append)
        relay.silence()
        one.publish(update("one", document, b"into the void"))
        await until(lambda: bool(told))
        await until_reachable(one)
        one.publish(update("one", document, b"after"))
        await until(lambda: bool(heard) and heard[-1].body == b"after")
        await one.close()
        await two.close()


async def test_a_document_entered_again_waits_for_the_confirmation_of_its_last_subscribe() -> None:
    """The first confirmation belongs to a subscription that the server has ended again."""
    document = uuid4()
    async with ScriptedRedis() as server:
        bus = RedisBus(f"redis://127.0.0.1:{server.port}", "one", "test:", times=LinkTimes(call_s=5.0))
        heard = list[Envelope]()
        await bus.start()
        control = asyncio.create_task(bus.subscribe(None, heard.append))
        await until(lambda: server.asked == [b"SUBSCRIBE"])
        server.answer(b"subscribe", b"test:control", 1)
        await control
        first = asyncio.create_task(bus.subscribe(document, heard.append))
        await until(lambda: len(server.asked) == 2)
        await bus.unsubscribe(document, heard.append)
        second = asyncio.create_task(bus.subscribe(document, heard.append))
        await until(lambda: server.asked == [b"SUBSCRIBE", b"SUBSCRIBE", b"UNSUBSCRIBE", b"SUBSCRIBE"])
        server.answer(b"subscribe", channel(document).encode(), 2)
        server.answer(b"unsubscribe", channel(document).encode(), 1)
        server.answer(b"message", b"test:control", sealed(Envelope(EnvelopeKind.CONTROL, None, "two", b"")))
        await until(lambda: len(heard) == 1)  # by now the answers before it were read as well
        assert not second.done()
        server.answer(b"subscribe", channel(document).encode(), 2)
        async with asyncio.timeout(2.0):
            await asyncio.gather(first, second)
        await bus.close()


async def test_a_publish_that_redis_refuses_is_counted_and_costs_no_other(
    make_bus: MakeBus, redis_server: RedisServer
) -> None:
    one, two, heard, document = await make_bus("one"), await make_bus("two"), list[Envelope](), uuid4()
    await two.subscribe(document, heard.append)
    redis_server.command("ACL", "SETUSER", "default", "-publish")
    one.publish(update("one", document, b"refused"))
    await one.ping()
    assert one.dropped == 1
    redis_server.command("ACL", "SETUSER", "default", "+publish")
    one.publish(update("one", document, b"x"))
    await until(lambda: [envelope.body for envelope in heard] == [b"x"])


async def test_cancelled_callers_never_mix_up_answers(make_bus: MakeBus) -> None:
    """CVE-2023-28858: a cancelled call left its answer for the next caller."""
    one, two = await make_bus("one"), await make_bus("two")
    chance, heard = random.Random(20230320), dict[UUID, list[bytes]]()

    async def visit(document: UUID) -> None:
        receive = heard.setdefault(document, []).append
        await two.subscribe(document, lambda envelope: receive(envelope.body))
        await two.ping()
        await one.ping()

    async def cancel_soon(task: asyncio.Task[None]) -> None:
        for _ in range(chance.randrange(6)):
            await asyncio.sleep(0)
        if chance.random() < 0.5:
            await asyncio.sleep(chance.random() / 1_000)
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task

    documents = [uuid4() for _ in range(200)]
    for document in documents:
        await cancel_soon(asyncio.create_task(visit(document)))
        one.publish(update("one", document, document.bytes))
    last = uuid4()
    await visit(last)
    for document in [*documents, last]:
        one.publish(update("one", document, document.bytes))
    await until(lambda: heard[last] == [last.bytes])
    await one.ping()
    for document in documents:
        # A visit cancelled before its first step has not subscribed; all others hear their own document, nothing else.
        assert set(heard.get(document, [])) <= {document.bytes}
        assert heard.get(document) is None or heard[document][-1:] == [document.bytes]
    assert (one.dropped, two.malformed) == (0, 0)


async def test_closing_while_redis_hangs_ends_in_time(make_bus: MakeBus, redis_server: RedisServer) -> None:
    """Closing gives up after 0.6 s, as the listening link does after two silent heartbeats: both at the same moment."""
    bus = await make_bus("one", times=HASTY)
    await bus.subscribe(uuid4(), lambda envelope: None)
    redis_server.pause()
    bus.publish(update("one", uuid4(), b"x"))
    async with asyncio.timeout(PATIENCE_S):
        await bus.close()
    assert [task for task in asyncio.all_tasks() if task.get_name().startswith("bus-")] == []


async def test_tasks_stamp_with_the_clock_of_redis(make_bus: MakeBus, redis_server: RedisServer) -> None:
    before_s = int(redis_server.command("TIME").split()[2])
    bus = await make_bus("one")
    now_s = bus._publisher.now_ms() / 1_000
    assert before_s <= now_s <= int(redis_server.command("TIME").split()[2]) + 1


async def test_a_recorded_message_is_dropped_and_counted(make_bus: MakeBus, redis_server: RedisServer) -> None:
    """T21: what was published once comes again, into its own channel and into another one."""
    tallies = BusTallies()
    bus = RedisBus(redis_server.url, "one", "test:", hmac_keys=(b"key",), tallies=tallies, times=PATIENT)
    heard, document, other = list[Envelope](), uuid4(), uuid4()
    await bus.start()
    await until_reachable(bus)
    await bus.subscribe(document, heard.append)
    await bus.subscribe(other, heard.append)
    now_ms = bus._publisher.now_ms()
    long_ago = Gate("two", lambda: now_ms - 3_600_000, (b"key",))
    [(old, _)] = long_ago.seal([update("two", document, b"an hour ago")])
    [(new, _)] = Gate("two", lambda: now_ms, (b"key",)).seal([update("two", document, b"now")])
    for name, wire in ((document, old), (document, new), (document, new), (other, new)):
        redis_server.command("PUBLISH", channel(name), wire)
    await until(lambda: bus.malformed == 2 and tallies.doubled.count == 1)
    assert [envelope.body for envelope in heard] == [b"now"]
    assert {reason: tally.count for reason, tally in tallies.refused.items()} == {"stale": 1, "channel": 1}
    await bus.close()


async def test_a_task_that_is_alone_says_words_but_tells_of_no_room(make_bus: MakeBus) -> None:
    one, two, heard, document = await make_bus("one"), await make_bus("two"), list[Envelope](), uuid4()
    await two.subscribe(document, heard.append)
    await two.subscribe(None, heard.append)
    one.is_alone = True
    one.publish(update("one", document, b"kept"))
    one.publish(Envelope(EnvelopeKind.CONTROL, None, "one", b"alive"))
    await until(lambda: [envelope.body for envelope in heard] == [b"alive"])


class FallingRedis(ScriptedRedis):
    """Falls over the first publish it gets, comes back and is loading, and serves from the third connection on."""

    def __init__(self) -> None:
        super().__init__()
        self.published: list[bytes] = []

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open.append(writer)
        number, parser = len(self._open), hiredis.Reader()
        while chunk := await reader.read(65_536):
            parser.feed(chunk)
            while (request := parser.gets()) is not False:
                if request[0] == b"TIME":
                    writer.write(b"-LOADING Redis is loading\r\n" if number == 2 else b"*2\r\n$1\r\n1\r\n$1\r\n1\r\n")
                elif request[0] != b"PUBLISH":
                    writer.write(b"+OK\r\n")
                elif number == 1:
                    writer.close()  # nobody knows what became of it
                else:
                    self.published.append(request[2])
                    writer.write(b":1\r\n")
        writer.close()

    @property
    def connections(self) -> int:
        return len(self._open)


async def test_what_was_under_way_when_redis_fell_is_sent_again_after_it_has_loaded() -> None:
    """F03: a server that comes back answers -LOADING for a while; a word must not get lost over that."""
    async with FallingRedis() as server:
        publisher = Publisher(f"redis://127.0.0.1:{server.port}", PATIENT, 1_000_000, packed_plainly, lambda: None)
        running = asyncio.create_task(publisher.run())
        publisher.send(update("one", UUID(int=1), b"before"))
        await until(lambda: server.connections > 1)
        publisher.send(update("one", UUID(int=1), b"after"))
        await until(lambda: b"after" in server.published)
        assert server.published == [b"before", b"after"]
        running.cancel()
        await asyncio.wait([running])


def packed_plainly(envelopes: Sequence[Envelope]) -> list[Packed]:
    return [Packed(command(b"PUBLISH", b"channel", each.body), [each]) for each in envelopes]
