"""What CI relies on: with the plugin of .ci/run a skipped test is a failed one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

MODULES = {
    "mark": "import pytest\n\n@pytest.mark.skipif(True, reason='no browser')\ndef test_it(): ...\n",
    "call": "import pytest\n\ndef test_it():\n    pytest.skip('no browser')\n",
    "fixture": "import pytest\n\n@pytest.fixture\ndef it():\n    pytest.skip('no browser')\n\ndef test_it(it): ...\n",
    "module": "import pytest\n\npytest.skip('no browser', allow_module_level=True)\n",
    "expected": "import pytest\n\n@pytest.mark.xfail(strict=True)\ndef test_it():\n    assert False\n",
    "passing": "def test_it(): ...\n",
}
SKIPS = {"mark", "call", "fixture", "module"}


@pytest.fixture(scope="module")
def printed(tmp_path_factory: pytest.TempPathFactory) -> str:
    """What pytest says of them all, with the plugin, in a worker process as CI has them. One run: it takes seconds."""
    folder = tmp_path_factory.mktemp("skipping")
    (folder / "pytest.ini").write_text("[pytest]\n")
    for name, module in MODULES.items():
        (folder / f"test_{name}.py").write_text(module)
    options = [
        "-rA",
        "-pxdist",
        "-n1",
        "--continue-on-collection-errors",
        "-pno:cacheprovider",
        f"--rootdir={folder}",
        str(folder),
    ]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", *options],
        cwd=ROOT,
        env=environment | {"PYTEST_ADDOPTS": "-p tests.services.no_skips", "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == pytest.ExitCode.TESTS_FAILED, ran.stdout + ran.stderr
    return ran.stdout


@pytest.mark.parametrize("kind", sorted(SKIPS))
def test_a_skip_is_a_failure(kind: str, printed: str) -> None:
    assert any(line.startswith(("FAILED", "ERROR")) and f"test_{kind}.py" in line for line in printed.splitlines())


def test_the_failure_says_what_was_missing(printed: str) -> None:
    assert printed.count("no browser - which is not allowed here") >= len(SKIPS)
    assert "skipped" not in printed.splitlines()[-1]


def test_an_expected_failure_and_a_passing_test_stay_what_they_are(printed: str) -> None:
    lines = printed.splitlines()
    assert any(line.startswith("XFAIL") and "test_expected.py" in line for line in lines)
    assert any(line.startswith("PASSED") and "test_passing.py" in line for line in lines)


def test_ci_can_be_run_and_turns_the_plugin_on() -> None:
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    assert 'PYTEST_ADDOPTS="-p tests.services.no_skips' in script.read_text()
    assert subprocess.run(["bash", "-n", script], check=False).returncode == 0
