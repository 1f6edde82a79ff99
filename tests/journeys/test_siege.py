"""The siege of `tests/corpus/siege.py`, shrunk: hostile updates in bulk at the socket, while honest people write.

Promise 4 (T19, T29, F17): no process ends, no honest edit is lost, every room opens again from storage.
"""

from __future__ import annotations

import os
import signal
from itertools import count
from pathlib import Path

from tests.corpus.siege import SETTINGS, Siege, real_sessions
from tests.services.fixtures_server import StartServer

MUTATED, FORGED, SEED = 1_500, 500, 20_251_121


async def test_hostile_updates_in_bulk_end_no_process_and_poison_no_room(
    start_server: StartServer, node_packages: Path, tmp_path: Path
) -> None:
    siege = Siege(start_server(**SETTINGS), SEED, real_sessions(SEED), tmp_path)
    verdict = await siege.run({"mutated": MUTATED, "forged": FORGED}, lambda _kind: None)
    assert verdict.holds, str(verdict)
    assert (verdict.sent["mutated"], verdict.sent["forged"]) == (MUTATED, FORGED)
    assert verdict.fates["mutated lost"] + verdict.fates["forged lost"] == 0
    assert verdict.fates["mutated kept"] > MUTATED / 20, "too few mutants get past the firewall to say anything"
    assert verdict.fates["forged kept"] > FORGED / 4, "too few forgeries get past the firewall to say anything"
    assert verdict.fates["mutated refused"] > MUTATED / 2
    assert verdict.rebuilds["rebuilt"] > 0, "no copy broke: the forgeries are too tame"
    assert verdict.edits > (MUTATED + FORGED) / 10


async def test_a_siege_notices_a_process_that_dies_and_everyone_comes_back(
    start_server: StartServer, node_packages: Path, tmp_path: Path
) -> None:
    server = start_server(**SETTINGS)
    attacks = count(1)

    def kill_once(_kind: str) -> None:
        if next(attacks) == 100:
            os.kill(server.pid, signal.SIGSEGV)

    verdict = await Siege(server, SEED, real_sessions(SEED), tmp_path).run({"mutated": 300}, kill_once)
    assert not verdict.holds
    assert (verdict.deaths, verdict.poisoned) == (1, {})
    assert verdict.sent["mutated"] == 300
