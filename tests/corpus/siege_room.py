"""One room under siege: two honest people write in turns while attackers send, and then it is compared with itself.

Attacks are either mutants of what a real session sends, with the real update after them so that the next ones hit
something, or forgeries aimed at what the room holds just then. Called by `siege`.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from itertools import cycle
from random import Random

from websockets.exceptions import ConnectionClosed, InvalidHandshake

from tests.corpus.mutation import damage, forge
from tests.corpus.siege_attacker import Attacker
from tests.corpus.siege_honest import RETRY_S, SIGNS, Copy, Honest, Poisoned
from tests.services.client import Client
from tests.services.server import ServerProcess
from tests.services.tokens import token

MUTANTS_OF_ONE_UPDATE = 10
ATTACKERS = 4
ATTACKS_PER_EDIT = 10
LEVEL_S = 20.0

Session = Sequence[bytes]
Report = Callable[[str], None]
"""Called with the kind of each attack when its fate is known."""


async def open_copy(server: ServerProcess, document: str) -> Copy:
    """What a newcomer is given. Raises `Poisoned` when there is no way in."""
    try:
        async with asyncio.timeout(LEVEL_S):
            while True:
                try:
                    async with Client(server.websocket_url, document, token=token(server, "late")) as late:
                        if late.synced:
                            return Copy.of(late.doc)
                except (OSError, InvalidHandshake, ConnectionClosed):
                    pass
                await asyncio.sleep(RETRY_S)
    except TimeoutError:
        raise Poisoned("nobody can open it") from None


class BesiegedRoom:
    """`run` plays it to the end; then `failure` says what went wrong, if anything did, and `copy` what it holds.

    `sent` are the attacks in order, to play again what failed. `fates` counts them by kind and fate.
    `differs` says that a newcomer sees other hostile text than who was there.
    """

    def __init__(self, server: ServerProcess, document: str, random: Random, tokens: Iterator[str], kind: str) -> None:
        self._server, self.document, self._random, self._tokens, self._kind = server, document, random, tokens, kind
        self.honest = [Honest(server, document, f"honest-{sign}", sign) for sign in SIGNS]
        self.fates: Counter[str] = Counter()
        self.closes: Counter[int] = Counter()
        self.sent: list[tuple[str, bytes]] = []
        self.failure: str | None = None
        self.copy: Copy | None = None
        self.differs = False
        self._turn = asyncio.Lock()

    async def run(self, attacks: int, sessions: Sequence[Session], report: Report) -> None:
        """Write, attack, write, compare."""
        drawn = self._attacks(attacks, sessions)
        try:
            await self._write()  # the text is a text before anybody can make something else of it
            async with asyncio.TaskGroup() as group:
                for _ in range(ATTACKERS):
                    group.create_task(self._attack(drawn, report))
            for _ in SIGNS:
                await self._write()
            self.copy = await self._level()
        except* Poisoned as poisoned:
            self.failure = "; ".join(map(str, poisoned.exceptions))
        finally:
            for honest in self.honest:
                await honest.leave()

    @property
    def edits(self) -> int:
        """How many the honest made."""
        return sum(honest.written for honest in self.honest)

    @property
    def reloads(self) -> int:
        """How often the CRDT library of one refused what the server had sent, so that it had to begin anew."""
        return sum(honest.reloads for honest in self.honest)

    def _attacks(self, number: int, sessions: Sequence[Session]) -> Iterator[tuple[str, bytes]]:
        """Kind and update of each, made when it is asked for. What is real comes on top."""
        if self._kind == "forged":
            yield from (("forged", self._forgery()) for _ in range(number))
            return
        others = [update for session in sessions for update in session]
        real = cycle(self._random.choice(sessions))
        while number > 0:
            current = next(real)
            for _ in range(min(number, MUTANTS_OF_ONE_UPDATE)):
                yield "mutated", damage(self._random, current, others)
            number -= MUTANTS_OF_ONE_UPDATE
            yield "real", current

    def _forgery(self) -> bytes:
        known = Copy.clocks_of(self.honest[0].doc)
        return forge(self._random, known, set().union(*(honest.client_ids for honest in self.honest)))

    async def _attack(self, attacks: Iterator[tuple[str, bytes]], report: Report) -> None:
        attacker = Attacker(self._server.ws_port, self.document, self._tokens, self.closes)
        try:
            for kind, update in attacks:
                self.sent.append((kind, update))
                fate = await attacker.offer(update)
                self.fates[f"{kind} {fate}"] += 1
                if kind != "real":
                    report(kind)
                if len(self.sent) % ATTACKS_PER_EDIT == 0:
                    await self._write()
        finally:
            attacker.leave()

    async def _write(self) -> None:
        """The next edit of one, and the other sees it."""
        async with self._turn:
            writer, reader = self.honest
            self.honest.reverse()
            await writer.write()
            await reader.until_sees(writer)

    async def _level(self) -> Copy:
        """What everyone holds in the end, a newcomer too. Raises `Poisoned` when they do not come to agree."""
        last: str | None = None
        try:
            async with asyncio.timeout(LEVEL_S):
                while True:
                    first, second = (Copy.of(honest.doc) for honest in self.honest)
                    late = await open_copy(self._server, self.document)
                    last = late.difference(first) or late.difference(second)
                    if last is None:
                        self.differs = not late.text == first.text == second.text
                        return late
                    await asyncio.sleep(RETRY_S)
        except TimeoutError:
            raise Poisoned(f"copies differ from a newcomer's: {last}") from None
