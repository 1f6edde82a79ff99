"""Hostile bytes against a live document, in a process of their own: it lives, and keeps its pace, memory and state.

The numbers can be raised for a long run: COLLAB_TEST_MUTATIONS=60000, COLLAB_TEST_FORGERIES=50000.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.corpus.hostile import hostile_bytes
from tests.corpus.real_updates import generate

MUTATIONS = int(os.environ.get("COLLAB_TEST_MUTATIONS", "8000"))
FORGERIES = int(os.environ.get("COLLAB_TEST_FORGERIES", "3000"))
SEED = int(os.environ.get("COLLAB_TEST_SEED", "1"))
ROOT = Path(__file__).parents[2]

MAX_STALL_MS = 50.0
MAX_GROWTH_BYTES = 5 * 1024 * 1024


# glibc fills freed memory with a pattern, so that its use is a death and not a chance of one. Elsewhere it is ignored.
POISONED = {"GLIBC_TUNABLES": "glibc.malloc.perturb=165:glibc.malloc.tcache_count=0"}


def run_trial(*arguments: str, lines: str = "", environment: dict[str, str] | None = None) -> dict[str, Any]:
    """The report of `python -m tests.corpus.trial`; fails if the process dies or finds a disagreement."""
    command = [sys.executable, "-m", "tests.corpus.trial", *arguments]
    seen = {**os.environ, **(environment or {})}
    done = subprocess.run(command, cwd=ROOT, env=seen, input=lines, capture_output=True, text=True, timeout=1_800)
    assert done.returncode == 0, f"exit code {done.returncode}\n{done.stderr[-2_000:]}"
    report: dict[str, Any] = json.loads(done.stdout)
    return report


def test_nothing_of_the_corpus_reaches_the_crdt() -> None:
    report = run_trial("corpus")
    assert report["outcomes"] == {str(case): case.reason for case in hostile_bytes()}
    assert report["slowest_ms"] < MAX_STALL_MS
    assert report["growth_bytes"] < MAX_GROWTH_BYTES


def test_mutated_real_updates_never_hurt_the_document(node_packages: Path) -> None:
    report = run_trial("mutations", str(SEED), str(MUTATIONS), lines=generate(SEED, 1_500))
    outcomes = report["outcomes"]
    assert outcomes["applied"] > MUTATIONS / 100, "too few mutants get past the firewall to say anything"
    assert outcomes["real applied"] > MUTATIONS / 20, "the document no longer takes real edits"
    assert report["slowest_ms"] < MAX_STALL_MS
    assert report["growth_bytes"] < MAX_GROWTH_BYTES


def test_forged_structs_never_make_the_crdt_use_memory_it_has_freed() -> None:
    """Without `update_keys` one document in thirty dies of them, or a call never returns (T29)."""
    outcomes = run_trial("forgeries", str(SEED), str(FORGERIES), environment=POISONED)["outcomes"]
    assert outcomes["applied"] > FORGERIES / 4, "too few get past the firewall to say anything"
    assert outcomes["key"] > FORGERIES / 100
