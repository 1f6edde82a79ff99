"""Questions that many ask at once, put together (F13)."""

from __future__ import annotations

import asyncio

import pytest

from collab_server.gathered import Gathered


class Clerk:
    """Answers with how often it was asked before, once it may."""

    def __init__(self) -> None:
        self.asked: list[list[str]] = []
        self.may_answer = asyncio.Event()
        self.fails = False

    async def answer(self, questions: list[str]) -> dict[str, int]:
        self.asked.append(questions)
        number = len(self.asked)
        await self.may_answer.wait()
        if self.fails:
            raise LookupError("the clerk is ill")
        return dict.fromkeys(questions, number)


async def turns() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_who_asks_while_an_answer_is_under_way_gets_the_next_one() -> None:
    clerk = Clerk()
    gathered = Gathered(clerk.answer, most=10)
    first = asyncio.create_task(gathered.ask("a"))
    await turns()
    later = [asyncio.create_task(gathered.ask(question)) for question in "abab"]
    await turns()
    clerk.may_answer.set()
    assert await first == 1
    assert await asyncio.gather(*later) == [2, 2, 2, 2]
    assert clerk.asked == [["a"], ["a", "b"]]


async def test_no_more_are_asked_at_once_than_may_be() -> None:
    clerk = Clerk()
    clerk.may_answer.set()
    gathered = Gathered(clerk.answer, most=2)
    assert await asyncio.gather(*(gathered.ask(question) for question in "abcde")) == [1, 1, 2, 2, 3]


async def test_a_failure_is_everybodys_and_the_next_question_is_asked_again() -> None:
    clerk = Clerk()
    clerk.fails = True
    clerk.may_answer.set()
    gathered = Gathered(clerk.answer, most=10)
    for asked in [asyncio.create_task(gathered.ask(question)) for question in "aab"]:
        with pytest.raises(LookupError):
            await asked
    clerk.fails = False
    assert await gathered.ask("a") == 2


async def test_one_who_gives_up_takes_the_answer_from_nobody() -> None:
    clerk = Clerk()
    gathered = Gathered(clerk.answer, most=10)
    hasty, patient = asyncio.create_task(gathered.ask("a")), asyncio.create_task(gathered.ask("a"))
    await turns()
    hasty.cancel()
    await turns()
    clerk.may_answer.set()
    assert await patient == 1
    assert hasty.cancelled()
