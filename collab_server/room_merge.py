"""What several tasks say of the same room, made into one answer. Pure. Called by `cluster_rooms`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

Told = Mapping[str, Any]

_SUMS = ("members", "dirty_updates", "dirty_bytes")
_MOST = ("epoch", "open_s", "updates", "clients", "operations")
_OWN = ("members", "open_s", "updates", "dirty_updates", "dirty_bytes", "encoded_bytes", "operations", "epoch")


def merged(by_task: Mapping[str, Told]) -> dict[str, Any]:
    """One room as the tasks that hold it see it, at least one. What each counts for itself is summed; what all of them
    count (every update reaches every task) is the most of any. `level` says whether all copies hold the same now.
    """
    reports = list(by_task.values())
    most_operations = max(report["operations"] for report in reports)
    return {
        "document": reports[0]["document"],
        "document_id": reports[0]["document_id"],
        **{name: sum(report[name] for report in reports) for name in _SUMS},
        **{name: max(report[name] for report in reports) for name in _MOST},
        "encoded_bytes": _greatest((report["encoded_bytes"] for report in reports), lambda size: size),
        "last_checkpoint": _greatest(
            (report["last_checkpoint"] for report in reports), lambda checkpoint: checkpoint["generation"]
        ),
        "frozen": any(report["frozen"] for report in reports),
        "level": len({(report["epoch"], report["digest"]) for report in reports}) == 1,
        "tasks": {
            task: {name: report[name] for name in _OWN} | {"behind": most_operations - report["operations"]}
            for task, report in sorted(by_task.items())
        },
    }


def merged_whole(by_task: Mapping[str, Told]) -> dict[str, Any]:
    """The same with people, each once with all devices, and with every task's seats."""
    together = merged(by_task)
    for task, report in by_task.items():
        together["tasks"][task]["state_vector"] = report["state_vector"]
        together["tasks"][task]["divergence"] = report.get("divergence")  # a task of the version before tells none
    ahead = max(by_task.values(), key=lambda report: report["operations"])
    return together | {
        "state_vector": ahead["state_vector"],
        "awareness_ids": max(report["awareness_ids"] for report in by_task.values()),
        "people": _people(person for _task, report in sorted(by_task.items()) for person in report["people"]),
        "seats": [seat | {"task": task} for task, report in sorted(by_task.items()) for seat in report["seats"]],
    }


def _people(told: Iterable[Told]) -> list[dict[str, Any]]:
    people: dict[str, dict[str, Any]] = {}
    for person in told:
        known = people.setdefault(person["subject"], {**person, "devices": 0})
        known["devices"] += person["devices"]
        if person["status"] == "active":
            known["status"] = "active"
    return list(people.values())


def _greatest(found: Iterable[Any], key: Callable[[Any], Any]) -> Any:
    return max((each for each in found if each is not None), key=key, default=None)
