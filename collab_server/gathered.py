"""Questions that many ask at once, put together: a thousand people who come back make a dozen queries, not a thousand.

Who asks while an answer is under way gets the next one, which is asked for after: nobody is told what was true before
they asked, as a cache would. Must never keep an answer. Called by `admission`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Mapping
from itertools import islice
from typing import Generic, TypeVar

from collab_server.tasks import Tasks

Q = TypeVar("Q", bound=Hashable)
A = TypeVar("A")


class Gathered(Generic[Q, A]):
    """`answer` is called with at most `most` different questions, never twice at once; all get what it raises."""

    def __init__(self, answer: Callable[[list[Q]], Awaitable[Mapping[Q, A]]], most: int) -> None:
        self._answer = answer
        self._most = most
        self._waiting: dict[Q, asyncio.Future[A]] = {}
        self._tasks = Tasks()
        self._is_asking = False

    async def ask(self, question: Q) -> A:
        """The answer as of a moment after this call. Raises what answering raises."""
        waiting = self._waiting.get(question)
        if waiting is None:
            waiting = self._waiting[question] = asyncio.get_running_loop().create_future()
            if not self._is_asking:
                self._is_asking = True
                self._tasks.start(self._ask_all(), "gathered-questions")
        return await asyncio.shield(waiting)  # others may wait for it too

    async def _ask_all(self) -> None:
        try:
            while self._waiting:
                asked = dict(islice(self._waiting.items(), self._most))
                for question in asked:
                    del self._waiting[question]
                await self._ask(asked)
        finally:
            self._is_asking = False

    async def _ask(self, asked: dict[Q, asyncio.Future[A]]) -> None:
        try:
            answers = await self._answer(list(asked))
        except Exception as error:
            for waiting in asked.values():
                waiting.set_exception(error)
                waiting.exception()  # whoever asked may be gone
            return
        for question, waiting in asked.items():
            waiting.set_result(answers[question])
