"""Somebody who writes to the journal without regard for order: a task of an older release, or a restored backup.

The journal is a set (decision 2): a row may stand there before the one it builds on. The tasks of this release never
cause that, since other tasks hear of commits only (decision 6), but they must get along with it: such a row is neither
lost nor called folded before the one it waits for has come.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from pycrdt import Doc, Text

from collab_server.bus import Envelope, EnvelopeKind
from collab_server.firewall import check_update
from collab_server.wire.lib0 import encode_state_vector
from persistence.journal import JournalEntry, JournalUnavailable
from tests.simulation.network import SimulatedBus
from tests.simulation.stores import Line, Weather

if TYPE_CHECKING:
    from tests.simulation.world import World

WRITERS = 900, 901


class Outsider:
    """Two writers, the second on top of the first, whose rows are committed the other way round."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._bus = SimulatedBus("outsider", world.network, world.loop.world, world.chance)
        self._weather = Weather(error_rate=world.plan.error_rate)
        self._journal: Any = Line(
            world.loop, world.chance, self._weather, "journal", world.journal, JournalUnavailable, world.checker.journal
        )
        self._rows: list[JournalEntry] = []
        self._done = world.loop.create_future()
        doc: Doc[Any] = Doc()
        clocks: dict[int, int] = {}
        for round_ in range(2):
            for writer in WRITERS:
                mine: Doc[Any] = Doc(client_id=writer)
                mine.apply_update(doc.get_update())
                before = mine.get_state()
                text = mine.get("content", type=Text)
                text.insert(len(str(text)), f"{writer}.{round_};")
                update = mine.get_update(before)
                summary = check_update(update, clocks)
                reach = encode_state_vector(summary.reach)
                self._rows.append(JournalEntry(world.document.id, update, "outsider", (writer,), reach))
                clocks.update(summary.clocks)
                doc.apply_update(update)

    async def live(self) -> None:
        """Commit the rows, a pair at a time, the dependent one first."""
        await self._bus.start()
        first, second, third, fourth = self._rows
        for row in (second, first, fourth, third):
            await asyncio.sleep(self._world.chance.random() * 2)
            await self._commit(row)
            self._world.note("a row of the outsider is committed")
        self._done.set_result(None)

    async def _commit(self, row: JournalEntry) -> None:
        while True:
            try:
                await self._journal.append([row])
            except JournalUnavailable:
                await asyncio.sleep(0.1)
            else:
                return

    async def finish(self) -> None:
        """Wait until all rows are committed."""
        self._weather.clear_up()
        await self._done

    def tell(self) -> None:
        """What a task does when asked: send the others what they may lack."""
        for row in self._rows:
            self._bus.publish(Envelope(EnvelopeKind.SYNC_REPLY, self._world.document.id, self._bus.task_id, row.update))
