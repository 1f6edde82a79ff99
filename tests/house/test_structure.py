"""The shape of the house that no linter knows: sizes, who reads the environment, who names adapters, what git holds."""

from __future__ import annotations

import ast
import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGES = ("auth", "chaos", "cluster", "collab_server", "commands", "persistence", "presence", "rest_api")
MODULES = [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]
LONGEST_MODULE = 400
VAGUE = {"manager", "handler", "helper", "helpers", "utils", "util", "misc", "common", "data", "info"}


def tracked() -> list[Path]:
    names = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return [ROOT / name for name in names.split("\0") if name and (ROOT / name).exists()]


def imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
        elif isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
    return found


def test_no_module_is_longer_than_it_can_be_read() -> None:
    long = {str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in MODULES}
    assert {name: lines for name, lines in long.items() if lines > LONGEST_MODULE} == {}


def test_every_module_says_what_it_is() -> None:
    assert [str(path) for path in MODULES if not ast.get_docstring(ast.parse(path.read_text()))] == []


def test_module_names_say_something() -> None:
    assert [str(path) for path in MODULES if VAGUE & set(path.stem.split("_"))] == []


def test_only_settings_reads_the_environment() -> None:
    reading = re.compile(r"os\.(environ|getenv)|BaseSettings")
    readers = {str(path.relative_to(ROOT)) for path in MODULES if reading.search(path.read_text())}
    assert readers == {"collab_server/settings.py"}


def test_only_one_module_names_adapters() -> None:
    adapter = re.compile(r"_(postgres|redis|memory|directory|s3)$|^auth\.(cognito|jwks|dev_keys|open_access)$")
    named = {
        str(path.relative_to(ROOT))
        for path in MODULES
        if path.parts[len(ROOT.parts)] == "collab_server"
        and any(adapter.search(name) and name.split(".")[0] in PACKAGES for name in imports(path))
        and not adapter.search(path.stem)
    }
    assert named == {"collab_server/adapters.py"}


def test_git_holds_no_bundle_no_address_of_a_registry_and_no_path_of_a_machine() -> None:
    here = "|".join(re.escape(f"{folder}/") for folder in (Path.home(), ROOT) if len(folder.parts) > 1)
    forbidden = re.compile(rf'"resolved":|--(?:extra-)?index-url|https?://[^\s"]+/(?:simple|packages)/|{here}')
    found = []
    for path in tracked():
        if path == Path(__file__) or path.suffix in {".png", ".woff2", ".ico"}:
            continue
        assert "dist" not in path.parts, path
        assert "node_modules" not in path.parts, path
        if forbidden.search(path.read_text(errors="replace")):
            found.append(str(path.relative_to(ROOT)))
    assert found == []


def test_every_locked_requirement_has_a_hash() -> None:
    for lock in [*ROOT.glob("requirements*.lock"), ROOT / "tests/services/ministack.lock"]:
        blocks = re.split(r"\n(?=[a-z0-9])", lock.read_text())
        pinned = [block for block in blocks if re.match(r"[a-z0-9][\w.-]*==", block)]
        assert pinned, lock
        assert [block.split()[0] for block in pinned if "--hash=sha256:" not in block] == [], lock
