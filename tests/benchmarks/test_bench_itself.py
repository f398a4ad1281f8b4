"""Two runs that say the same, and two that do not."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))  # as when the script runs

import bench_itself

from foredraft.bench.journal import Journal
from recorded import SETUP, case

RESULTS = Path(__file__).parents[2] / "benchmarks" / "results" / "bench_itself"


def run(folder: Path, *each: float) -> Path:
    journal = Journal(folder, SETUP | {"drafters": ["lookup"]})
    for place, seconds in enumerate(each):
        journal.add(case(str(place), "t", seconds))
    return folder


def test_runs_agree_where_each_lies_in_the_others_interval(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = run(tmp_path / "a", 1.2, 1.5, 1.8)
    near, far = run(tmp_path / "b", 1.3, 1.5, 1.7), run(tmp_path / "c", 0.5, 0.6, 0.7)
    assert bench_itself.main(["agree", str(first), str(near)]) == 0
    [line] = capsys.readouterr().out.splitlines()
    assert json.loads(line)["agree"] is True
    assert json.loads(line)["first"]["speedup"] == pytest.approx(24 / (4 * 4.5))
    assert bench_itself.main(["agree", str(first), str(far)]) == 1


def test_an_interval_of_few_prompts_holds_less_often_than_one_of_many() -> None:
    """Nominally 95 in 100; of two prompts a task some 75, of twenty some 93: 40 experiments tell these apart."""
    few, many = bench_itself.coverage(2, 0.3, 40), bench_itself.coverage(20, 0.3, 40)
    assert few < many
    assert many >= 0.85


def test_what_was_measured_is_what_the_page_says(capsys: pytest.CaptureFixture[str]) -> None:
    page = (Path(__file__).parents[2] / "docs" / "benchmark.md").read_text(encoding="utf-8")
    assert bench_itself.main(["agree", str(RESULTS / "first"), str(RESULTS / "second")]) == 0
    for line in capsys.readouterr().out.splitlines():
        found = json.loads(line)
        told = [
            f"{one['speedup']:.2f} ({one['speedup_ci'][0]:.2f} – {one['speedup_ci'][1]:.2f})"
            for one in (found["first"], found["second"])
        ]
        assert f"| `{found['drafter']}` | {told[0]} | {told[1]} |" in page
    cost = json.loads((RESULTS / "overhead.json").read_text(encoding="utf-8"))
    assert cost["overhead"] <= bench_itself.ALLOWED
    assert f"{cost['overhead']:.2%} of generation time" in page
