"""A pytest plugin that fails every test which would be skipped: a skip in CI is a part that nobody set up.

`-p tests.services.no_skips` turns it on; .ci/run does. An expected failure (`xfail`, which is strict here) stays one.
"""

from collections.abc import Generator

import pytest


def _failed(report: pytest.TestReport | pytest.CollectReport) -> None:
    """Make a failure of a skip, keeping its reason."""
    if report.skipped and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome = "failed"
        report.longrepr = f"{reason} - which is not allowed here"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Tests and their fixtures."""
    report = yield
    _failed(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Whole modules, skipped while they are imported."""
    report = yield
    _failed(report)
    return report
