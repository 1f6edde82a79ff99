"""The report: the sentence at its end is the verdict."""

from __future__ import annotations

import json

from chaos.checker import Verdict
from chaos.report import Report
from chaos.target import About

ABOUT = About("a server", "what it means", ())


def report(**found: object) -> Report:
    made = Report(ABOUT, 7, 6, rounds=3, sent=100, acknowledged=90)
    for name, value in found.items():
        setattr(made, name, value)
    return made


def test_a_clean_run_is_kept() -> None:
    assert report().is_kept
    assert list(report().lines())[-1].startswith("KEPT")


def test_whatever_is_wrong_in_storage_or_later_is_broken_and_counted() -> None:
    found = report(cold=Verdict(lost=frozenset({"a", "b"}), came_back=frozenset({"c"})))
    assert not found.is_kept
    assert list(found.lines())[-1].startswith("BROKEN: 3 of 90 acknowledged")
    assert not report(settled=Verdict(diverged=frozenset({"one"}))).is_kept


def test_a_run_that_was_broken_off_or_in_which_nothing_was_acknowledged_proves_nothing() -> None:
    for found in (report(problems=["it does not answer"]), report(acknowledged=0)):
        assert not found.is_kept
        assert list(found.lines())[-1].startswith("UNPROVEN")


def test_machines_get_the_same() -> None:
    found = report(settled=Verdict(half_applied=frozenset({"⟦c0"})), recovery_s={"freeze": [0.1, 0.2, 0.9]})
    said = json.loads(json.dumps(found.as_json()))
    assert said["kept"] is False
    assert said["half_applied"] == said["after_everybody_came_back"]["half_applied"] == 1
    assert said["from_storage_alone"]["half_applied"] == 0
    assert said["recovery_s"]["freeze"] == {"p50": 0.2, "p95": 0.9, "max": 0.9}
