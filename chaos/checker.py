"""The verdict on a document: what was promised, compared with what copies of it hold. Pure. Called by `campaign`.

Jepsen's rule: an edit that was acknowledged must be there; one that was sent and never acknowledged may be there or
not, but whole or not at all.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from chaos.ledger import TOKEN, Ledger

LONGEST_EXCERPT = 40


@dataclass(frozen=True, slots=True)
class Replica:
    """One copy of a document: whose it is, its text, and how many operations of each client it holds."""

    name: str
    text: str
    state: Mapping[int, int]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is wrong, by token; `diverged` names copies. Nothing anywhere is the promise kept."""

    lost: frozenset[str] = frozenset()
    duplicated: frozenset[str] = frozenset()
    came_back: frozenset[str] = frozenset()
    half_applied: frozenset[str] = frozenset()
    unknown: frozenset[str] = frozenset()
    diverged: frozenset[str] = frozenset()

    @property
    def is_clean(self) -> bool:
        """Whether nothing is wrong."""
        return self == Verdict()

    def __or__(self, other: Verdict) -> Verdict:
        """What is wrong with either."""
        return Verdict(
            self.lost | other.lost,
            self.duplicated | other.duplicated,
            self.came_back | other.came_back,
            self.half_applied | other.half_applied,
            self.unknown | other.unknown,
            self.diverged | other.diverged,
        )


def judge(ledger: Ledger, replicas: Sequence[Replica]) -> Verdict:
    """The verdict on copies that should be equal by now. Raises ValueError without any: that proves nothing.

    Lost is what no copy has; what some have and some have not shows as copies that differ.
    """
    if not replicas:
        raise ValueError("there is no copy to judge")
    texts = [_judge_text(ledger, text) for text in {replica.text for replica in replicas}]
    found = Verdict(diverged=_diverged(replicas))
    for verdict in texts:
        found |= verdict
    return replace(found, lost=frozenset.intersection(*(verdict.lost for verdict in texts)))


def agree(replicas: Sequence[Replica]) -> bool:
    """Whether all copies are equal."""
    return not _diverged(replicas)


def differences(replicas: Sequence[Replica]) -> list[str]:
    """For each copy that differs from most: what it has more and less, as a sentence."""
    odd = _diverged(replicas)
    usual = next(replica for replica in replicas if replica.name not in odd)
    return [_difference(replica, usual) for replica in replicas if replica.name in odd]


def _difference(odd: Replica, usual: Replica) -> str:
    here, there = set(TOKEN.findall(odd.text)), set(TOKEN.findall(usual.text))
    clients = sorted(odd.state.keys() | usual.state.keys())
    ahead = sum(odd.state.get(client, 0) > usual.state.get(client, 0) for client in clients)
    behind = sum(odd.state.get(client, 0) < usual.state.get(client, 0) for client in clients)
    return (
        f"{odd.name} lacks {_some(there - here)} and has besides {_some(here - there)}; "
        f"it is ahead of the others for {ahead} clients' operations, behind for {behind}"
    )


def _some(names: set[str]) -> str:
    """How many, and one of them."""
    return f"{len(names)} tokens ({min(names)})" if names else "no token"


def _judge_text(ledger: Ledger, text: str) -> Verdict:
    times = Counter(TOKEN.findall(text))
    there = times.keys()
    return Verdict(
        lost=frozenset(ledger.must_be_there - there),
        duplicated=frozenset(name for name, number in times.items() if number > 1),
        came_back=frozenset(ledger.must_be_gone & there),
        half_applied=frozenset(rest[:LONGEST_EXCERPT] for rest in TOKEN.split(text) if rest),
        unknown=frozenset(there - ledger.sent),
    )


def _diverged(replicas: Iterable[Replica]) -> frozenset[str]:
    """The copies that differ from what most hold; where none is most, from the first."""
    replicas = list(replicas)
    contents = [(replica.text, tuple(sorted(replica.state.items()))) for replica in replicas]
    usual, _number = Counter(contents).most_common(1)[0]
    return frozenset(replica.name for replica, content in zip(replicas, contents, strict=True) if content != usual)
