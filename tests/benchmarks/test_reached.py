"""The tables of several runs: of methods, of what was asked for, of what drafting takes."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))  # as when the script runs

import methods  # noqa: E402
import reached  # noqa: E402

from foredraft.bench.events import Events, read  # noqa: E402
from foredraft.bench.report import run_json  # noqa: E402


def kept(name: str) -> Events:
    return read(BENCHMARKS / "results" / "bench" / name)


def test_a_method_has_the_acceptance_that_bench_reports() -> None:
    run = kept(methods.RUN)
    found = run_json(run.cases, "block:k=5")
    (row,) = [row for row in methods.table(run.cases, ["block:k=5"]).splitlines() if row.startswith("| `")]
    cells = [cell.strip() for cell in row.split("|")]
    assert cells[4] == ", ".join(f"{share:.2f}" for share in found["acceptance_by_position"])
    reach, ever = ([float(share) for share in cell.split(", ")] for cell in cells[4:6])
    assert reach[0] == ever[0]
    assert ever == sorted(ever, reverse=True)


def test_nothing_is_made_where_runs_are_missing() -> None:
    assert methods.tables({}) == {}
    assert reached.tables({}, {}) == {}


def test_what_drafting_takes_counts_as_met_when_it_is_less() -> None:
    run = kept(reached.HEADS)
    length = replace(reached.ASKED[0], run=reached.HEADS, arm=reached.HEAD)
    drafting = replace(length, figure=reached.DRAFTING)
    assert length.least
    assert not drafting.least
    assert reached.figure(run, length) == pytest.approx(2.43, abs=0.005)
    assert 0 < reached.figure(run, drafting) < 0.15 < reached.figure(run, length)
