"""Several tasks on one memory network and one storage, with everything of the private port that asks around."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from collab_server.bus_memory import MemoryNetwork
from collab_server.cluster_acts import ClusterActs
from collab_server.cluster_rooms import Cluster, ClusterRooms
from collab_server.control import Control
from collab_server.neighbours import Neighbours
from collab_server.rooms.triggers import RoomRules
from tests.unit.collab_server.rooms.parts import RULES, House, house, until


@dataclass
class Task:
    """One task of the cluster. `connected` is what it believes of its bus."""

    at: House
    network: MemoryNetwork
    cluster: Cluster
    rooms: ClusterRooms
    acts: ClusterActs
    connected: list[bool]

    @property
    def id(self) -> str:
        return self.at.bus.task_id

    def cut(self) -> None:
        """It neither sends nor hears any more, and nobody knows yet."""
        self.network.cut(self.id)


@asynccontextmanager
async def cluster_of(number: int, *, timeout_s: float = 5.0, rules: RoomRules = RULES) -> AsyncIterator[list[Task]]:
    """That many tasks that know each other."""
    network, tasks = MemoryNetwork(), list[Task]()
    async with AsyncExitStack() as stack:
        for _ in range(number):
            first = tasks[0].at if tasks else None
            at = await stack.enter_async_context(house(rules, network=network, storage=first))
            control = Control(at.bus, at.metrics)
            neighbours = Neighbours(control, at.metrics, speaks=frozenset({1}))
            connected = [True]
            cluster = Cluster(control, neighbours, timeout_s, lambda connected=connected: connected[0])  # type: ignore[misc]
            rooms = ClusterRooms(cluster, at.registry)
            acts = ClusterActs(cluster, rooms, at.registry, at.catalog, at.rulings, 60.0)
            await control.start()
            stack.push_async_callback(control.close)
            tasks.append(Task(at, network, cluster, rooms, acts, connected))
        for task in tasks:
            task.cluster.neighbours.say_alive()
        await until(lambda: all(len(task.cluster.neighbours.living) == number - 1 for task in tasks))
        yield tasks
