"""Words and questions between tasks: everyone hears them, nobody is harmed by what it does not understand."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import orjson
import pytest

from collab_server.bus import Envelope, EnvelopeKind
from collab_server.bus_memory import MemoryBus, MemoryNetwork
from collab_server.control import Body, Control
from collab_server.telemetry import Metrics
from tests.unit.collab_server.rooms.parts import until

Heard = list[tuple[str, dict[str, Any]]]


class Task:
    """One task's control channel and what it heard of the word "hey"."""

    def __init__(self, network: MemoryNetwork, name: str) -> None:
        self.network, self.metrics = network, Metrics()
        self.bus = MemoryBus(name, network)
        self.control = Control(self.bus, self.metrics)
        self.heard: Heard = []
        self.control.on("hey", lambda origin, body: self.heard.append((origin, dict(body))))
        self.control.on("count", lambda _origin, body: self.heard.append(("number", {"n": body["n"] + 1})))
        self.control.on_question("who", self._who)

    async def _who(self, body: Body) -> Body:
        if body.get("fails") == self.bus.task_id:
            raise RuntimeError("not today")
        return {"i": self.bus.task_id}

    def refused(self, reason: str) -> int:
        return int(self.metrics.bus_refused[reason].count)


@asynccontextmanager
async def listening(tasks: Iterable[tuple[MemoryBus, Control]]) -> AsyncIterator[None]:
    """The control channels of these tasks, open meanwhile."""
    async with AsyncExitStack() as stack:
        for bus, control in tasks:
            await bus.start()
            stack.push_async_callback(bus.close)
            await control.start()
            stack.push_async_callback(control.close)
        yield


@asynccontextmanager
async def tasks(*names: str) -> AsyncIterator[list[Task]]:
    network = MemoryNetwork()
    made = [Task(network, name) for name in names]
    async with listening((task.bus, task.control) for task in made):
        yield made


async def test_a_word_reaches_every_task_and_the_one_that_said_it_first() -> None:
    async with tasks("one", "two", "three") as (one, two, three):
        one.control.tell("hey", {"a": 1})
        assert one.heard == [("one", {"a": 1})]
        await until(lambda: two.heard == three.heard == [("one", {"a": 1})])
        assert one.heard == [("one", {"a": 1})]  # and not once more from the bus


async def test_an_unknown_word_is_counted_and_ignored_for_versions_mix() -> None:
    async with tasks("old", "new") as (old, new):
        new.control.on("tomorrow", lambda _origin, _body: None)
        new.control.tell("tomorrow", {})
        new.control.tell("hey", {})
        await until(lambda: bool(old.heard))
        assert old.refused("unknown_word") == 1


@pytest.mark.parametrize(
    "body",
    [b"", b"\xff", b"[]", b"null", b'"hey"', b'{"word":"hey"}', b'{"word":1,"body":{}}', b'{"word":"hey","body":[]}'],
)
async def test_what_is_no_word_is_counted_and_harms_nobody(body: bytes) -> None:
    async with tasks("one", "two") as (one, two):
        one.bus.publish(Envelope(EnvelopeKind.CONTROL, None, "one", body))
        one.control.tell("hey", {})
        await until(lambda: bool(two.heard))
        assert two.refused("malformed") == 1


async def test_a_body_that_its_act_does_not_understand_is_counted() -> None:
    async with tasks("one", "two") as (one, two):
        one.bus.publish(Envelope(EnvelopeKind.CONTROL, None, "one", orjson.dumps({"word": "count", "body": {}})))
        one.control.tell("count", {"n": 1})
        await until(lambda: two.heard == [("number", {"n": 2})])
        assert two.refused("malformed") == 1


async def test_a_question_brings_the_answers_of_those_it_was_put_to() -> None:
    async with tasks("one", "two", "three") as (one, _two, _three):
        answers = await one.control.ask("who", {}, of=["two"], timeout_s=5)
        assert answers.by_task == {"one": {"i": "one"}, "two": {"i": "two"}}
        assert not answers.is_partial
        everyone = await one.control.ask("who", {}, of=["one", "two", "three"], timeout_s=5)
        assert set(everyone.by_task) == {"one", "two", "three"}


async def test_who_is_silent_or_fails_is_named_at_the_deadline() -> None:
    async with tasks("one", "two", "three") as (one, _two, three):
        three.network.cut("three")
        answers = await one.control.ask("who", {"fails": "two"}, of=["two", "three"], timeout_s=0.05)
        assert answers.silent == {"two", "three"}
        assert answers.is_partial
        assert set(answers.by_task) == {"one"}


async def test_two_questions_at_once_do_not_mix() -> None:
    async with tasks("one", "two") as (one, two):
        both = await asyncio.gather(
            one.control.ask("who", {}, of=["two"], timeout_s=5), two.control.ask("who", {}, of=["one"], timeout_s=5)
        )
        assert [set(each.by_task) for each in both] == [{"one", "two"}] * 2


async def test_an_answer_that_nobody_asked_for_is_ignored() -> None:
    async with tasks("one", "two") as (one, two):
        said = {"word": "who", "question": "x", "to": "two", "body": {"i": "a liar"}}
        one.bus.publish(Envelope(EnvelopeKind.CONTROL, None, "one", orjson.dumps(said)))
        one.control.tell("hey", {})
        await until(lambda: bool(two.heard))
        assert (await two.control.ask("who", {}, of=["one"], timeout_s=5)).by_task["one"] == {"i": "one"}
