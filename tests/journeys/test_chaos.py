"""The chaos kit itself: it finds nothing wrong with us (F01, F05), and it finds out a server that forgets."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest

from chaos.campaign import Campaign, Plan
from chaos.crew import Crew, Note
from chaos.node_crew import NodeCrew
from chaos.own_deployment import OwnDeployment
from chaos.packages import install_clients, node
from chaos.remote import Remote
from chaos.report import Report
from chaos.schedule import Round, Strike
from chaos.writer import Address, PythonCrew
from tests.services.fixtures_server import StartServer
from tests.services.postgres import open_folder
from tests.services.tokens import token

ROOT = Path(__file__).parents[2]
SEED = 4711
EDITS_PER_S = 50.0


@pytest.fixture
def folder() -> Iterator[Path]:
    made = open_folder()
    made.chmod(0o711)
    yield made
    shutil.rmtree(made)


class Forgetful(OwnDeployment):
    """A deployment that loses the newest rows of its journal when it is started again."""

    async def restart(self) -> None:
        connection = await asyncpg.connect(self._postgres.url)
        try:
            await connection.execute(
                "delete from document_updates where id in (select id from document_updates order by id desc limit 40)"
            )
        finally:
            await connection.close()
        await super().restart()


def python_crew(address: Address, note: Note) -> list[Crew]:
    return [PythonCrew((1, 2), address, SEED, EDITS_PER_S, note)]


async def run(target: OwnDeployment, rounds: tuple[Round, ...], packages: Path | None = None) -> Report:
    def crews(address: Address, note: Note) -> list[Crew]:
        found = python_crew(address, note)
        if packages is not None:
            found.append(NodeCrew("y-websocket", packages, node() or "", (3, 4), address, SEED, EDITS_PER_S, note))
        return found

    return await Campaign(target, crews, Plan(SEED, rounds), lambda _done, _what: None).run()


@pytest.mark.timeout(300)
async def test_nothing_acknowledged_is_lost_by_three_kills_and_a_crash_of_the_database(folder: Path) -> None:
    packages = await asyncio.to_thread(install_clients, ROOT / ".cache" / "chaos")
    database_away = Strike("postgres-stop", after_s=0.2, lasts_s=0.4, dice=1)
    rounds = (Round(1, (), 0.3), Round(2, (database_away,), 0.2), Round(3, (), 0.25))
    report = await run(OwnDeployment(folder), rounds, packages)
    assert report.is_kept, "\n".join(report.lines())
    assert report.rounds == 3
    assert report.strikes == {"last kill": 3, "postgres-stop": 1}
    assert report.acknowledged > 200
    assert len(report.recovery_s["postgres-stop"]) == 4


@pytest.mark.timeout(300)
async def test_a_server_that_loses_what_it_acknowledged_is_found_out(folder: Path) -> None:
    report = await run(Forgetful(folder), (Round(1, (), 0.5),))
    assert report.cold.lost
    assert not report.is_kept
    assert list(report.lines())[-1].startswith("BROKEN")


async def test_a_running_deployment_is_checked_by_clients_that_cut_their_own_connections(
    start_server: StartServer,
) -> None:
    server = start_server(auth="dev", room_grace_s=0.1)
    address = Address(server.websocket_url, token(server))
    cut = Strike("client-cut", after_s=0.2, lasts_s=0, dice=1)
    plan = Plan(SEED, (Round(1, (cut,), 0.1), Round(2, (cut, cut), 0.1)), cold_wait_s=0.5)
    report = await Campaign(Remote(address), python_crew, plan, lambda _done, _what: None).run()
    assert report.is_kept, "\n".join(report.lines())
    assert report.strikes == {"client-cut": 3}
    assert report.copies_judged == 3 * 3 + 1


async def test_a_deployment_that_refuses_is_unproven_and_says_why(start_server: StartServer) -> None:
    server = start_server(auth="dev")
    plan = Plan(SEED, (Round(1, (), 0.1),))
    report = await Campaign(
        Remote(Address(server.websocket_url, "no-token")), python_crew, plan, lambda _done, _what: None
    ).run()
    assert not report.is_kept
    assert "401" in report.problems[0]
