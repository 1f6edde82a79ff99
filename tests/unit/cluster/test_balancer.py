"""The balancer of local trials: who gets a connection, what it carries, and how it ends."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress

from cluster.balancer import Balancer, Target
from tests.services.server import free_port


class Named:
    """A server that says its name to whoever connects, and then gives back what it is sent."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.writers: list[asyncio.StreamWriter] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writers.append(writer)
        writer.write(self.name.encode() + b"\n")
        with suppress(ConnectionError):
            while chunk := await reader.read(65536):
                writer.write(chunk)
                await writer.drain()
        writer.close()

    def cut(self) -> None:
        for writer in self.writers:
            writer.transport.abort()


@asynccontextmanager
async def balanced(*names: str) -> AsyncIterator[tuple[Balancer, list[Target], list[Named]]]:
    async with AsyncExitStack() as stack:
        servers, targets = [Named(name) for name in names], []
        for server in servers:
            listening = await asyncio.start_server(server.serve, "127.0.0.1", 0)
            stack.callback(listening.close)
            stack.callback(server.cut)
            targets.append(Target(listening.sockets[0].getsockname()[1], ready=True))
        balancer = Balancer(targets, "127.0.0.1", 0)
        await balancer.start()
        stack.push_async_callback(balancer.close)
        yield balancer, targets, servers


@asynccontextmanager
async def connected(balancer: Balancer) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection("127.0.0.1", balancer.port)
    try:
        async with asyncio.timeout(10):
            yield reader, writer
    finally:
        writer.close()


async def reached(balancer: Balancer) -> str:
    """The name of the server that a new connection reaches; empty when it is hung up."""
    async with connected(balancer) as (reader, _writer):
        with suppress(ConnectionError):
            return (await reader.readline()).decode().strip()
    return ""


async def until(fact: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not fact():  # noqa: ASYNC110
            await asyncio.sleep(0.005)


async def test_connections_go_round_those_that_are_ready() -> None:
    async with balanced("a", "b", "c") as (balancer, targets, _servers):
        assert [await reached(balancer) for _ in range(4)] == ["a", "b", "c", "a"]
        targets[1].ready = False
        assert {await reached(balancer) for _ in range(6)} == {"a", "c"}


async def test_one_that_takes_no_connection_is_passed_over_at_once_and_not_asked_again() -> None:
    async with balanced("a", "b") as (balancer, targets, _servers):
        targets[0].port = free_port()
        assert [await reached(balancer) for _ in range(3)] == ["b", "b", "b"]
        assert not targets[0].ready


async def test_what_is_sent_before_the_task_is_reached_comes_first() -> None:
    sent = [f"line {number}\n".encode() for number in range(200)]
    async with balanced("a") as (balancer, _targets, _servers):
        for _ in range(20):
            async with connected(balancer) as (reader, writer):
                writer.writelines(sent)
                assert await reader.readline() == b"a\n"
                assert [await reader.readline() for _ in sent] == sent


async def test_without_anybody_ready_a_connection_is_hung_up() -> None:
    async with balanced("a") as (balancer, targets, _servers):
        targets[0].ready = False
        assert await reached(balancer) == ""


async def test_a_connection_stays_where_it_is_when_its_task_is_no_longer_ready() -> None:
    async with balanced("a", "b") as (balancer, targets, _servers), connected(balancer) as (reader, writer):
        assert await reader.readline() == b"a\n"
        targets[0].ready = False
        writer.write(b"still here\n")
        assert await reader.readline() == b"still here\n"
        assert [target.connections for target in targets] == [1, 0]


async def test_everything_is_carried_to_its_end_however_slowly_it_is_read() -> None:
    sent = bytes(range(256)) * 40_000  # 10 MB: more than all sockets on the way hold
    async with balanced("a") as (balancer, targets, _servers), connected(balancer) as (reader, writer):
        await reader.readline()
        writer.write(sent)
        writer.write_eof()
        assert await reader.read() == sent
        writer.close()
        await until(lambda: targets[0].connections == 0)


async def test_the_crash_of_a_task_ends_its_connections_and_no_others() -> None:
    async with (
        balanced("a", "b") as (balancer, _targets, servers),
        connected(balancer) as (of_a, _one),
        connected(balancer) as (of_b, two),
    ):
        assert (await of_a.readline(), await of_b.readline()) == (b"a\n", b"b\n")
        servers[0].cut()
        with suppress(ConnectionError):
            assert await of_a.read() == b""
        two.write(b"still here\n")
        assert await of_b.readline() == b"still here\n"


async def test_a_client_that_leaves_is_gone_for_its_task() -> None:
    async with balanced("a") as (balancer, targets, servers):
        assert await reached(balancer) == "a"
        await until(lambda: targets[0].connections == 0 and servers[0].writers[0].is_closing())


async def test_refusing_new_connections_leaves_those_that_are_there() -> None:
    async with balanced("a") as (balancer, _targets, _servers), connected(balancer) as (reader, writer):
        await reader.readline()
        balancer.refuse_new()
        with suppress(OSError):
            assert await reached(balancer) == ""
        writer.write(b"still here\n")
        assert await reader.readline() == b"still here\n"


async def ready(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """An admin port that finds its task ready."""
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    await writer.drain()
    writer.close()


async def test_as_a_program_of_its_own_it_finds_ready_tasks_by_their_hosts_and_ends_when_told() -> None:
    task, port = Named("a"), free_port()
    async with AsyncExitStack() as stack:
        ports = []
        for serve in (task.serve, ready):
            listening = await asyncio.start_server(serve, "127.0.0.1", 0)
            stack.callback(listening.close)
            ports.append(str(listening.sockets[0].getsockname()[1]))
        stack.callback(task.cut)
        words = ["--listen", "127.0.0.1", "--port", str(port), "--ws-port", ports[0], "--admin-port", ports[1]]
        running = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "cluster.balance", *words, "127.0.0.1", "no-such-host.invalid")
        )
        async with asyncio.timeout(30):
            while await greeting(port) != b"a\n":  # noqa: ASYNC110 - nobody tells
                await asyncio.sleep(0.05)
        running.terminate()
        assert await running.wait() == 0


async def greeting(port: int) -> bytes:
    """What a new connection to that port hears first; nothing when it is refused or hung up."""
    with suppress(OSError):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            return await reader.readline()
        finally:
            writer.close()
    return b""
