"""Settings of the whole suite, and the ledger that the summary is printed from."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

import pytest
from hypothesis import settings

# The same examples every run: a property that fails, fails for everybody. Shared machines make deadlines flaky.
settings.register_profile("foredraft", derandomize=True, deadline=None, max_examples=60)
settings.load_profile("foredraft")


def pytest_configure() -> None:
    """Those that run tests side by side have a core each: threads that meet at barriers wait long for one that is not
    running. Whatever counts the cores then counts one."""
    worker = os.environ.get("PYTEST_XDIST_WORKER")
    if worker and sys.platform == "linux":
        cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, {cores[int(worker.removeprefix("gw")) % len(cores)]})


@pytest.fixture
def ledger(record_property: Callable[[str, object], None]) -> Callable[[str, float], None]:
    """Notes a distance under a heading; the summary prints how many there were and the worst. It goes with the test's
    report, so several processes may run the tests."""
    return record_property


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    found: dict[str, list[float]] = {}
    for report in (*terminalreporter.getreports("passed"), *terminalreporter.getreports("failed")):
        for heading, distance in report.user_properties:
            if isinstance(distance, float):
                found.setdefault(heading, []).append(distance)
    for heading, distances in sorted(found.items()):
        terminalreporter.write_line(f"{heading}: {len(distances)} cases, worst total variation {max(distances):.1e}")
