"""All members of one run: they join, play a script of edits to the clock, and what they receive is read and counted.

One process and one loop. Probes have a reader of their own; everybody else is in one epoll set that is looked at every
`SWEEP_S`, in slices of `SLICE_S`, so that a probe never waits long for it. Called by `load` and `joins`.
"""

from __future__ import annotations

import asyncio
import select
import time
from collections.abc import Collection, Sequence

from bench.peers.dialects import Heard
from bench.peers.frames import client_frame
from bench.peers.ledger import Ledger
from bench.peers.member import Lost, Member
from bench.peers.servers import Running

SWEEP_S = 0.02
SLICE_S = 0.001
TICK_S = 0.001  # the loop's timers know no less: a shorter sleep is none, and spins
JOIN_AT_ONCE = 32


class Swarm:
    """The members of `rooms`, one room name each, of which the ledger's probes look into what they receive.

    `tasks` says which of the server's tasks each member joins; left out, it is the first.
    """

    def __init__(self, server: Running, rooms: Sequence[str], ledger: Ledger, tasks: Sequence[int] = ()) -> None:
        self._server = server
        self._ledger = ledger
        self._epoll = select.epoll()
        self._by_fd: dict[int, Member] = {}
        self._clients: list[asyncio.Task[None]] = []
        self._rooms = rooms
        self._ports = [server.tasks[task].port for task in tasks] or [server.port] * len(rooms)
        self.dialects = [server.dialect(room) for room in rooms]
        self.members = [Member(dialect) for dialect in self.dialects]
        self.lost: list[str] = []
        self.lateness_s: list[float] = []

    async def join(self) -> float:
        """Everybody joins; returns the seconds it took. Raises `Lost`.

        One member of each room goes first: pycrdt-websocket never answers a second who comes while a room is starting.
        """
        began = time.perf_counter()
        first = {room: number for number, room in reversed(list(enumerate(self._rooms)))}.values()
        await self._join_all(first)
        await self._join_all(set(range(len(self.members))) - set(first))
        took = time.perf_counter() - began
        self._clients.append(asyncio.create_task(self._sweep_for_ever()))
        return took

    async def _join_all(self, numbers: Collection[int]) -> None:
        doors = asyncio.Semaphore(JOIN_AT_ONCE)
        async with asyncio.TaskGroup() as joining:
            for number in sorted(numbers):
                joining.create_task(self._join(number, doors))

    async def _join(self, number: int, doors: asyncio.Semaphore) -> None:
        member = self.members[number]
        async with doors:
            await member.join(self._ports[number], self._server.path(self._rooms[number]))
        descriptor = member.socket.fileno()
        if number in self._ledger.seen_at:
            asyncio.get_running_loop().add_reader(descriptor, self._probe, number)
        else:
            self._by_fd[descriptor] = member
            self._epoll.register(descriptor, select.EPOLLIN)

    def _probe(self, number: int) -> None:
        member, dialect, ledger = self.members[number], self.dialects[number], self._ledger
        try:
            received = member.receive()
            now = time.perf_counter()
            for payload in member.stream.payloads(received):
                heard, body = dialect.read(payload)
                if heard is Heard.AWARENESS:
                    ledger.heard_awareness(number, body, now)
                elif heard is not Heard.OTHER:
                    ledger.heard_update(number, body, now)
            member.answer_controls()
        except Lost as error:
            asyncio.get_running_loop().remove_reader(member.socket.fileno())
            self.lost.append(str(error))

    async def _sweep_for_ever(self) -> None:
        while True:
            await asyncio.sleep(SWEEP_S)
            for member in self.members:
                if member.unsent_bytes:
                    self._guarded_flush(member)
            ready = self._epoll.poll(0, max(len(self._by_fd), 1))
            slice_end = time.perf_counter() + SLICE_S
            for descriptor, _events in ready:
                self._read_and_count(descriptor)
                if time.perf_counter() > slice_end:
                    await asyncio.sleep(0)
                    slice_end = time.perf_counter() + SLICE_S

    def _guarded_flush(self, member: Member) -> None:
        try:
            member.flush()
        except Lost as error:
            self.lost.append(str(error))

    def _read_and_count(self, descriptor: int) -> None:
        member = self._by_fd[descriptor]
        try:
            member.stream.count(member.receive())
            member.answer_controls()
        except Lost as error:
            self._epoll.unregister(descriptor)
            self.lost.append(str(error))

    def frames(self) -> list[bytes]:
        """The ledger's edits as frames, to be made before the clock runs."""
        made = []
        for edit in self._ledger.edits:
            dialect = self.dialects[edit.member]
            message = dialect.awareness(edit.body) if edit.kind == "cursor" else dialect.update(edit.body)
            made.append(client_frame(message))
        return made

    async def play(self, frames: Sequence[bytes], start: float) -> None:
        """Send each edit when it is due, counted from `start`; how late each was goes to `lateness_s`."""
        ledger, members = self._ledger, self.members
        for number, (edit, frame) in enumerate(zip(ledger.edits, frames, strict=True)):
            due = start + edit.due_s
            now = time.perf_counter()
            while now < due:
                await asyncio.sleep(max(due - now, TICK_S))
                now = time.perf_counter()
            self.lateness_s.append(now - due)
            ledger.sent(number, now)
            try:
                members[edit.member].send(frame)
            except Lost as error:
                self.lost.append(str(error))

    @property
    def frames_received(self) -> int:
        return sum(member.stream.frames for member in self.members)

    @property
    def unsent_bytes(self) -> int:
        return sum(member.unsent_bytes for member in self.members)

    async def leave(self) -> None:
        """Everybody hangs up."""
        for task in self._clients:
            task.cancel()
        await asyncio.gather(*self._clients, return_exceptions=True)
        for number, member in enumerate(self.members):
            if number in self._ledger.seen_at:
                asyncio.get_running_loop().remove_reader(member.socket.fileno())
            member.close()
        self._epoll.close()
