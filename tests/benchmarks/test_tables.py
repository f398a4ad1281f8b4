"""The page of tables: filled from runs, and no run or place left over."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))  # as when the script runs

import tables

RESULTS = Path(__file__).parents[2] / "benchmarks" / "results" / "bench"
PAGE = "before\n<!-- table one -->\nold\n<!-- end -->\nafter\n"


def test_a_table_takes_the_place_of_the_old_one() -> None:
    assert tables.filled(PAGE, {"one": "new\n"}) == PAGE.replace("old", "new")


def test_a_run_without_a_place_and_a_place_without_a_run_are_errors() -> None:
    with pytest.raises(SystemExit, match="two: a run without a place"):
        tables.filled(PAGE, {"one": "new\n", "two": "new\n"})
    with pytest.raises(SystemExit, match="one: there is no such run"):
        tables.filled(PAGE, {})


@pytest.mark.parametrize("folder", sorted(RESULTS.iterdir()), ids=lambda folder: folder.name)
def test_committed_runs_are_whole_and_small(folder: Path) -> None:
    run = tables.read(folder)
    setup, cases = run.setup, run.cases
    assert all(set(case.trials) == {"plain", *setup["drafters"]} for case in cases)
    assert all(path.stat().st_size < 5_000_000 for path in folder.iterdir())
    table = tables.table(setup, cases)
    assert table.count("\n| `") == len(setup["drafters"])


def test_the_fifth_percentile_of_plain_beside_itself_is_one() -> None:
    cases = tables.read(RESULTS / "smollm2-free").cases
    assert tables.fifth(cases, "plain") == 1.0
