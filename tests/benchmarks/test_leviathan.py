"""The table of benchmarks/leviathan.py, and the pages that hold such tables."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))  # as when the script runs

import leviathan
import students

ROOT = Path(__file__).parents[2]
DIVERGENCES = ["forward-kl", "reverse-kl", "jensen-shannon", "total-variation", "likelihood", "hybrid"]


def row(draft: str, g: int, v: float) -> dict[str, object]:
    return {"draft": draft, "g": g, "acceptance": 0.5, "c": 0.2, "v": v, "measured": 1.25}


def test_a_table_by_hand() -> None:
    rows = [row("a/small/model.gguf,head=8", 1, 1.0), row("b", 1, 1.2), row("c", 1, 1.1)]
    made = leviathan.table(rows, [4.0]).splitlines()
    assert made[0] == "| draft | acceptance | c | needs | g = 1 | 4 times |"
    # 1.5 / (0.2 + 1.1), and 1.5 / (0.05 + 1.1): v is the median
    assert made[2] == "| `small,head=8` | 0.50 | 0.20 | 0.30 | 1.25 (1.15) | 1.30 |"
    assert made[3].startswith("| `b` |")


def test_the_page_of_sizes_holds_what_was_measured() -> None:
    raw = json.loads((ROOT / "benchmarks/results/leviathan-smollm2-students.json").read_text(encoding="utf-8"))
    page = (ROOT / "docs/choosing_a_draft_model.md").read_text(encoding="utf-8")
    assert leviathan.table(raw["rows"], [4.0, 16.0]) in page


@pytest.mark.parametrize(("beside", "only"), [("forward-kl", []), ("45m-forward-kl", ["45m"])])
def test_the_page_of_divergences_holds_what_was_measured(beside: str, only: list[str]) -> None:
    raw = json.loads((ROOT / "benchmarks/results/students-smollm2.json").read_text(encoding="utf-8"))
    page = (ROOT / "docs/distill.md").read_text(encoding="utf-8")
    names = only + [beside.removesuffix("forward-kl") + name for name in DIVERGENCES]
    assert students.table(raw, beside, names) in page
