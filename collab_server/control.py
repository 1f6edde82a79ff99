"""What the tasks of a cluster say to each other beside documents: words with a JSON body, on the bus's control channel.

A word may be lost, doubled or late like any envelope: whoever says one must bear that, by saying it again or by letting
an age run out, and whoever acts on one must bear to hear it twice. Words that this version does not know are counted
and ignored, so that versions mix. Nothing secret goes into a body: everyone on the bus hears it. Built by `assembly`.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

import orjson
import structlog

from collab_server.bus import Bus, Envelope, EnvelopeKind
from collab_server.tasks import Tasks
from collab_server.telemetry import Metrics

log = structlog.get_logger(__name__)

Body = Mapping[str, Any]
Act = Callable[[str, Body], None]
Answer = Callable[[Body], Awaitable[Body]]

_FAILED: Body = {"failed": True}


@dataclass(frozen=True, slots=True)
class Answers:
    """What came back to a question: a body by task id, and the tasks that were silent until the deadline or failed."""

    by_task: Mapping[str, Body]
    silent: frozenset[str]

    @property
    def is_partial(self) -> bool:
        """Whether somebody's answer is missing."""
        return bool(self.silent)


class Control:
    """Says words to every task of the cluster, this one included, and acts on those of others."""

    def __init__(self, bus: Bus, metrics: Metrics) -> None:
        self.task_id = bus.task_id
        self._bus = bus
        self._metrics = metrics
        self._acts: dict[str, Act] = {}
        self._answers: dict[str, Answer] = {}
        self._asked: dict[str, tuple[set[str], dict[str, Body], asyncio.Event]] = {}
        self._answering = Tasks()

    async def start(self) -> None:
        """Begin to listen: after every `on`, or early words are ignored."""
        await self._bus.subscribe(None, self._hear)

    async def close(self) -> None:
        """Listen no more."""
        await self._bus.unsubscribe(None, self._hear)
        await self._answering.close()

    # Words

    def on(self, word: str, act: Act) -> None:
        """Call `act(task id, body)`, in the loop, for each `word`. One act a word; a body is checked by its act."""
        self._acts[word] = act

    def tell(self, word: str, body: Body) -> None:
        """Say `word` to all tasks; this one acts on it before `tell` returns. Never waits, never fails."""
        self._say({"word": word, "body": body})
        self._act(word, self.task_id, body)

    # Questions

    def on_question(self, word: str, answer: Answer) -> None:
        """Answer each question `word` with what `answer(body)` returns."""
        self._answers[word] = answer

    async def ask(self, word: str, body: Body, *, of: Collection[str], timeout_s: float) -> Answers:
        """Ask the tasks with these ids and this one, and wait for the answers until the deadline.

        A task that fails to answer counts as silent. Raises what this task's own answer raises.
        """
        number = secrets.token_hex(8)
        missing, found, all_here = set(of) - {self.task_id}, dict[str, Body](), asyncio.Event()
        awaited = frozenset(missing)
        self._asked[number] = missing, found, all_here
        try:
            if missing:
                self._say({"word": word, "body": body, "question": number, "of": sorted(missing)})
            found[self.task_id] = await self._answers[word](body)
            if missing:
                async with asyncio.timeout(timeout_s):
                    await all_here.wait()
        except TimeoutError:
            log.warning("control_question_unanswered", word=word, silent=sorted(missing))
        finally:
            del self._asked[number]
        return Answers(found, awaited - found.keys())

    # Hearing

    def _hear(self, envelope: Envelope) -> None:
        try:
            said = orjson.loads(envelope.body)
            word, body = said["word"], said["body"]
            question = said.get("question")
        except (ValueError, TypeError, KeyError, AttributeError):
            self._ignore("malformed")
            return
        if not isinstance(word, str) or not isinstance(body, dict):
            self._ignore("malformed")
        elif question is None:
            self._act(word, envelope.origin, body)
        elif said.get("to") is None:
            self._be_asked(envelope.origin, said)
        elif said["to"] == self.task_id:
            self._be_answered(envelope.origin, question, body)

    def _act(self, word: str, origin: str, body: Body) -> None:
        act = self._acts.get(word)
        if act is None:
            self._ignore("unknown_word")
            return
        try:
            act(origin, body)
        except (KeyError, TypeError, ValueError) as error:  # another version's body, or nobody's
            log.warning("control_word_refused", word=word, origin=origin, error=type(error).__name__)
            self._ignore("malformed")
        except Exception:
            log.exception("control_word_failed", word=word, origin=origin)

    def _be_asked(self, asker: str, said: Body) -> None:
        of = said.get("of")
        if not isinstance(of, list) or self.task_id not in of:
            return
        answer = self._answers.get(said["word"])
        if answer is None:
            self._ignore("unknown_word")
        else:
            self._answering.start(self._reply(asker, said, answer), "answer-control")

    async def _reply(self, asker: str, said: Body, answer: Answer) -> None:
        try:
            body = await answer(said["body"])
        except Exception:  # the one who asked counts this task as silent
            log.exception("control_question_failed", word=said["word"])
            body = _FAILED
        self._say({"word": said["word"], "question": said["question"], "to": asker, "body": body})

    def _be_answered(self, origin: str, question: object, body: Body) -> None:
        asked = self._asked.get(question) if isinstance(question, str) else None
        if asked is None:
            return  # too late
        missing, found, all_here = asked
        if origin in missing:
            missing.discard(origin)
            if body != _FAILED:
                found[origin] = body
            if not missing:
                all_here.set()

    def _ignore(self, reason: str) -> None:
        self._metrics.bus_refused[reason].inc()

    def _say(self, said: Body) -> None:
        body = orjson.dumps(said)
        self._bus.publish(Envelope(EnvelopeKind.CONTROL, None, self.task_id, body))
