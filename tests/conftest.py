"""Settings of the whole suite, and the ledger that the summary is printed from."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import settings

# The same examples every run: a property that fails, fails for everybody. Shared machines make deadlines flaky.
settings.register_profile("foredraft", derandomize=True, deadline=None, max_examples=60)
settings.load_profile("foredraft")

LEDGER = pytest.StashKey[dict[str, list[float]]]()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[LEDGER] = {}


@pytest.fixture
def ledger(request: pytest.FixtureRequest) -> Callable[[str, float], None]:
    """Notes a distance under a heading; the summary prints how many there were and the worst."""

    def note(heading: str, distance: float) -> None:
        request.config.stash[LEDGER].setdefault(heading, []).append(distance)

    return note


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    for heading, distances in sorted(config.stash[LEDGER].items()):
        terminalreporter.write_line(f"{heading}: {len(distances)} cases, worst total variation {max(distances):.1e}")
