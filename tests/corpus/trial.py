"""A process to put at risk: offers hostile bytes to a live document and says how that went. Run by tests.

`python -m tests.corpus.trial corpus` tries the written corpus, `... mutations SEED COUNT < lines` mutated real updates
(lines of tests/interop/generate_updates.mjs), `... forgeries SEED COUNT` sound structs that contradict each other.
Prints one JSON object; death, panic or disagreement is the exit code.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from itertools import cycle
from pathlib import Path
from random import Random

from collab_server.firewall import UpdateRefused, check_state_vector
from collab_server.wire import yjs
from collab_server.wire.awareness import AwarenessLimits
from collab_server.wire.lib0 import MalformedMessage
from tests.corpus.document import corpus_document
from tests.corpus.hostile import Hostile, hostile_bytes
from tests.corpus.live_document import LiveDocument
from tests.corpus.mutation import damage, forge
from tests.corpus.real_updates import Session, parse

MUTANTS_OF_ONE_UPDATE = 10
FORGERIES_IN_ONE_DOCUMENT = 250


class Meter:
    """The slowest step in CPU time of this thread (other processes must not count), and the memory it took."""

    def __init__(self) -> None:
        self.slowest_s = 0.0
        self._start_bytes = _peak_bytes(reset=True)

    def run(self, step: Callable[[], str]) -> str:
        started = time.thread_time()
        outcome = step()
        self.slowest_s = max(self.slowest_s, time.thread_time() - started)
        return outcome

    def report(self) -> dict[str, float]:
        return {"slowest_ms": self.slowest_s * 1e3, "growth_bytes": _peak_bytes() - self._start_bytes}


def _peak_bytes(*, reset: bool = False) -> int:
    """The most memory this process has had; on Linux since the last reset."""
    status = Path("/proc/self/status")
    if not status.exists():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    if reset:
        Path("/proc/self/clear_refs").write_text("5")
    return next(int(line.split()[1]) * 1024 for line in status.read_text().splitlines() if line.startswith("VmHWM"))


def try_corpus() -> dict[str, object]:
    """Offer every hostile thing to one live document."""
    document = LiveDocument(corpus_document())
    cases = hostile_bytes()
    meter = Meter()
    outcomes = {str(case): meter.run(partial(_outcome, case, document)) for case in cases}
    document.verify()
    return {"outcomes": outcomes, **meter.report()}


def _outcome(case: Hostile, document: LiveDocument) -> str:
    try:
        if case.kind == "update":
            return document.offer(case.body)
        if case.kind == "state_vector":
            check_state_vector(case.body)
        else:
            yjs.decode(case.body, AwarenessLimits())
    except (UpdateRefused, MalformedMessage) as refused:
        return refused.reason
    return "passed"


def try_mutations(seed: int, count: int, sessions: list[Session]) -> dict[str, object]:
    """Play real sessions and offer mutants of each update before it, `count` in all."""
    random = Random(seed)
    outcomes: Counter[str] = Counter()
    meter = Meter()
    offered = 0
    others = [update for session in sessions for update in session.updates]
    for session in cycle(sessions):
        document = LiveDocument()
        for real in session.updates:
            for _ in range(MUTANTS_OF_ONE_UPDATE):
                mutant = damage(random, real, others)
                outcomes[meter.run(partial(document.offer, mutant))] += 1
                offered += 1
            outcomes["real " + document.offer(real)] += 1
            if offered >= count:
                document.verify()
                return {"outcomes": outcomes, **meter.report()}
        document.verify()
        if offered < count / 4:
            meter = Meter()  # what the first quarter took is the interpreter and the allocator warming up
    raise AssertionError("unreachable")


def try_forgeries(seed: int, count: int) -> dict[str, object]:
    """Offer `count` forgeries, some hundred to a document each, which must stay loadable all the time."""
    outcomes: Counter[str] = Counter()
    for first in range(0, count, FORGERIES_IN_ONE_DOCUMENT):
        random = Random(seed + first)
        document = LiveDocument()
        for number in range(FORGERIES_IN_ONE_DOCUMENT):
            outcomes[document.offer(forge(random, document.known))] += 1
            if number % 50 == 49:
                document.verify()
    return {"outcomes": outcomes}


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["corpus"]:
            print(json.dumps(try_corpus()))
        case ["mutations", seed, count]:
            print(json.dumps(try_mutations(int(seed), int(count), parse(sys.stdin.read()).sessions)))
        case ["forgeries", seed, count]:
            print(json.dumps(try_forgeries(int(seed), int(count))))
        case _:
            sys.exit(__doc__)
