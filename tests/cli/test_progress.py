"""The time left, by hand: what an earlier run did is not counted as done in no time."""

from __future__ import annotations

import io
import sys

import pytest

from foredraft.cli.progress import Pace, counting, spelt


def test_the_rest_takes_as_long_as_what_was_seen() -> None:
    pace = Pace(100.0, 40)
    assert pace.left(100.0, 40, 100) is None
    assert pace.left(110.0, 50, 100) == 50.0
    assert pace.left(160.0, 100, 100) == 0.0


def test_times_as_people_write_them() -> None:
    assert (spelt(None), spelt(5.4), spelt(125), spelt(3723)) == ("", "0:05 left", "2:05 left", "1:02:03 left")


def test_a_terminal_shows_the_time_left_from_where_this_run_began(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    clock = iter([0.0, 2.0])
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")
    with counting("prompts", lambda: next(clock)) as each:
        each(90, 100)
        each(91, 100)
    assert "91/100" in terminal.getvalue()
    assert "0:18 left" in terminal.getvalue()
