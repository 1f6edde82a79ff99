"""However people move between tasks while the bus loses and doubles: in the end all see all, and no ghost (T11).

Stock clients by their clock rule (`Screen`), on real rooms of three tasks. A person may turn up on another task before
anybody has noticed that its first connection is dead; a task may be taken for gone while it lives.
"""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import Callable

import pytest

from collab_server.bus_memory import MemoryNetwork
from presence.state import RENEWED_S
from tests.unit.collab_server.rooms.parts import until
from tests.unit.collab_server.test_ghosts import Screen, Task, cluster

SESSIONS = max(1, int(os.environ.get("COLLAB_TEST_SESSIONS", "10000")) // 1_000)
STEPS = 40


class BadNetwork(MemoryNetwork):
    """While `is_bad`, loses, doubles and holds back some of what it carries."""

    def __init__(self, chance: random.Random) -> None:
        super().__init__()
        self.is_bad = False
        self._chance = chance
        self._held: list[bytes] = []

    def carry(self, batch: list[bytes]) -> None:
        if self.is_bad:
            fate = [self._chance.random() for _ in batch]
            late, self._held = self._held, [wire for wire, one in zip(batch, fate, strict=True) if 0.2 < one < 0.3]
            doubled = [wire for wire, one in zip(batch, fate, strict=True) if one > 0.9]
            batch = [wire for wire, one in zip(batch, fate, strict=True) if one >= 0.3] + late + doubled
        super().carry(batch)


class Session:
    """One room on all tasks, and the people in it: `screens` by client id, `dead` seats that nobody has noticed yet."""

    def __init__(self, network: BadNetwork, tasks: list[Task], chance: random.Random) -> None:
        self.network = network
        self.tasks = tasks
        self.chance = chance
        self.screens: dict[int, tuple[Task, Screen]] = {}
        self.dead: list[tuple[Task, Screen]] = []
        self.log: list[str] = []
        self.renewed_at = 0.0
        self._last_id = 0

    def step(self) -> None:
        acts: list[Callable[[], None]] = [
            self.join,
            self.renew,
            self.move,
            self.leave,
            self.notice,
            self.cut,
            self.doubt,
        ]
        act = self.chance.choices(acts, [4, 4, 4, 1, 3, 2, 1])[0]
        self.log.append(act.__name__)
        act()

    def someone(self) -> int | None:
        return self.chance.choice([*self.screens]) if self.screens else None

    def join(self) -> None:
        self._last_id += 1
        task = self.chance.choice(self.tasks)
        self.screens[self._last_id] = task, task.join(self._last_id, f"person-{self._last_id}")

    def renew(self) -> None:
        if who := self.someone():
            self.screens[who][1].say()

    def move(self) -> None:
        """Its connection dies without a word, and it is back elsewhere, or at the same task, with what it said last."""
        if who := self.someone():
            task, screen = self.screens[who]
            self.dead.append((task, screen))
            screen.person.transport.on_write = None
            elsewhere = self.chance.choice(self.tasks)
            back = Screen(elsewhere.at.join(elsewhere.room, subject=f"person-{who}"), who)
            back.say(screen.clock)
            self.screens[who] = elsewhere, back

    def leave(self) -> None:
        if who := self.someone():
            task, screen = self.screens.pop(who)
            screen.person.transport.on_write = None
            task.room.leave(screen.person.member)

    def notice(self) -> None:
        if self.dead:
            task, screen = self.dead.pop(self.chance.randrange(len(self.dead)))
            task.room.leave(screen.person.member)

    def cut(self) -> None:
        task_id = self.chance.choice(self.tasks).at.bus.task_id
        self.chance.choice([self.network.cut, self.network.mend])(task_id)

    def doubt(self) -> None:
        self.chance.choice(self.tasks).lose_patience()

    async def end(self) -> None:
        """The network is well again, dead connections are noticed, and clients renew what they show, as every 15 s."""
        self.network.is_bad = False
        for task in self.tasks:
            self.network.mend(task.at.bus.task_id)
            task.neighbours.say_alive()
        while self.dead:
            self.notice()
        await until(lambda: all(len(task.neighbours.living) == len(self.tasks) - 1 for task in self.tasks))
        self.renewed_at = asyncio.get_running_loop().time()
        for _ in range(2):
            for _task, screen in self.screens.values():
                screen.say()
            await asyncio.sleep(0)

    @property
    def is_right(self) -> bool:
        everyone = set(self.screens)
        for task in self.tasks:  # whose leaving got lost on the bus is forgotten with time
            task.room.cursors.forget_unrenewed(self.renewed_at + RENEWED_S)
        return all(screen.shows == everyone - {who} for who, (_task, screen) in self.screens.items()) and all(
            len(task.room.cursors) == len(everyone) for task in self.tasks
        )

    def close(self) -> None:
        while self.screens:
            self.leave()


@pytest.mark.timeout(60 + SESSIONS * 5)
async def test_whatever_happened_in_the_end_everyone_sees_everyone_and_no_ghost() -> None:
    network = BadNetwork(random.Random(0))
    async with cluster(3, network) as (_network, tasks):
        for seed in range(SESSIONS):
            chance = random.Random(seed)
            for task in tasks:
                task.room = await task.at.room(f"room-{seed}")
            session = Session(network, tasks, chance)
            network.is_bad = True
            for _ in range(STEPS):
                session.step()
                for _ in range(chance.randrange(4)):
                    await asyncio.sleep(0)
            await session.end()
            try:
                await until(lambda session=session: session.is_right)
            except TimeoutError:
                seen = {who: sorted(screen.shows) for who, (_task, screen) in session.screens.items()}
                held = [len(task.room.cursors) for task in tasks]
                raise AssertionError(f"session {seed}: {session.log}, screens {seen}, cursors {held}") from None
            session.close()
