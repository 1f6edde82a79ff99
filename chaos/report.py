"""What a run found, in words and as JSON. Pure. Called by `campaign`, which fills it, and by the `chaos` command."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from chaos.checker import Verdict
from chaos.target import About

EXAMPLES = 5


@dataclass(slots=True)
class Report:
    """One run. `cold`: the verdict on what the storage alone gave; `settled`: on copies once everybody was back."""

    about: About
    seed: int
    writers: int
    rounds: int = 0
    documents: int = 0
    seconds: float = 0.0
    typing_s: float = 0.0
    sent: int = 0
    acknowledged: int = 0
    strikes: Counter[str] = field(default_factory=Counter)
    says: dict[str, str] = field(default_factory=dict)
    copies_judged: int = 0
    cold: Verdict = field(default_factory=Verdict)
    settled: Verdict = field(default_factory=Verdict)
    recovery_s: dict[str, list[float]] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    oddities: list[str] = field(default_factory=list)

    @property
    def verdict(self) -> Verdict:
        """Everything that was found wrong at any time."""
        return self.cold | self.settled

    @property
    def is_kept(self) -> bool:
        """Whether the promise was kept, and the run went to its end."""
        return self.verdict.is_clean and not self.problems and self.acknowledged > 0

    def as_json(self) -> dict[str, Any]:
        """The same for machines."""
        return {
            "target": self.about.name,
            "acknowledgement": self.about.acknowledgement,
            "kept": self.is_kept,
            "seed": self.seed,
            "rounds": self.rounds,
            "documents": self.documents,
            "writers": self.writers,
            "seconds": round(self.seconds, 1),
            "sent": self.sent,
            "acknowledged": self.acknowledged,
            **_counted(self.verdict),
            "from_storage_alone": _counted(self.cold),
            "after_everybody_came_back": _counted(self.settled),
            "copies_judged": self.copies_judged,
            "strikes": dict(self.strikes),
            "recovery_s": {fault: _percentiles(took) for fault, took in self.recovery_s.items() if took},
            "problems": self.problems,
            "oddities": self.oddities,
        }

    def lines(self) -> Iterator[str]:
        """The same for people."""
        verdict = self.verdict
        yield f"{self.about.name} · seed {self.seed} · {self.rounds} rounds in {self.seconds:.0f} s"
        yield f"  acknowledged means  {self.about.acknowledgement}"
        rate = self.sent / self.typing_s if self.typing_s else 0.0
        yield f"  edits sent          {self.sent:,} by {self.writers} clients, {rate:.0f}/s while they wrote"
        yield f"  acknowledged        {self.acknowledged:,}"
        yield f"  lost                {_shown(verdict.lost)}"
        if verdict.lost:
            yield f"  still missing       {len(self.settled.lost):,} once the clients that had a copy were back"
        yield f"  duplicated          {_shown(verdict.duplicated)}"
        yield f"  half applied        {_shown(verdict.half_applied)}"
        yield f"  deleted, yet there  {_shown(verdict.came_back)}"
        yield f"  never sent          {_shown(verdict.unknown)}"
        yield f"  copies that differ  {_shown(verdict.diverged)} ({self.copies_judged:,} copies were judged)"
        yield "  faults, and from the cure to each client's next acknowledgement:"
        for fault, number in sorted(self.strikes.items()):
            yield f"    {number:>4} × {fault:<14}{_waited(self.recovery_s.get(fault, []))}  {self.says.get(fault, '')}"
        yield from (f"  noticed             {sentence}" for sentence in self.oddities)
        yield from (f"  problem             {sentence}" for sentence in self.problems)
        yield self._sentence()

    def _sentence(self) -> str:
        if self.is_kept:
            return "KEPT: every acknowledged edit is there, once and whole, and all copies are equal."
        if self.verdict.is_clean:
            return "UNPROVEN: nothing wrong was found, but the run did not go to its end."
        if not self.verdict.lost | self.verdict.came_back:
            return f"BROKEN: of {self.acknowledged:,} acknowledged edits none was lost, but not all is as it must be."
        lost = len(self.verdict.lost) + len(self.verdict.came_back)
        return f"BROKEN: {lost:,} of {self.acknowledged:,} acknowledged edits were lost, deletions included."


def percentile(values: Sequence[float], share: float) -> float:
    """The value below which `share` of the values lie; 0 without any."""
    ordered = sorted(values)
    return ordered[min(int(len(ordered) * share), len(ordered) - 1)] if ordered else 0.0


def _percentiles(took: Sequence[float]) -> dict[str, float]:
    return {"p50": round(percentile(took, 0.5), 3), "p95": round(percentile(took, 0.95), 3), "max": round(max(took), 3)}


def _waited(took: Sequence[float]) -> str:
    found = _percentiles(took).items() if took else ()
    return " · ".join(f"{name} {seconds:5.2f} s" for name, seconds in found)


def _counted(verdict: Verdict) -> dict[str, int]:
    return {
        "lost": len(verdict.lost),
        "duplicated": len(verdict.duplicated),
        "half_applied": len(verdict.half_applied),
        "deleted_yet_there": len(verdict.came_back),
        "never_sent": len(verdict.unknown),
        "copies_that_differ": len(verdict.diverged),
    }


def _shown(names: frozenset[str]) -> str:
    """How many, and a few of them."""
    if not names:
        return "0"
    few = " ".join(sorted(names)[:EXAMPLES])
    return f"{len(names):,}: {few}" + (" …" if len(names) > EXAMPLES else "")
