"""What benchmarks/students.py reads from laws."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))  # as when the script runs

import students


def test_figures_of_a_law_by_hand() -> None:
    p, q = np.array([[0.9, 0.1, 0.0, 0.0]]), np.array([[0.5, 0.005, 0.495, 0.0]])
    found = dict(zip(students.FIGURES, students.compared(p, q), strict=True))
    assert found["overlap"] == pytest.approx(0.505)
    assert found["junk"] == pytest.approx(0.495)  # the third token, which p never says
    assert found["missed"] == pytest.approx(0.1)  # the second, of which q has a twentieth
    assert found["forward"] == pytest.approx(0.9 * np.log(0.9 / 0.5) + 0.1 * np.log(20))
    assert found["reverse"] > 30  # a token that p never says
    assert found["nats"] == pytest.approx(-(0.5 * np.log(0.5) + 0.005 * np.log(0.005) + 0.495 * np.log(0.495)))


def test_laws_that_are_one_another() -> None:
    p = np.random.default_rng(0).dirichlet(np.ones(9), 5)
    found = students.compared(p, p)
    assert found[:5] == pytest.approx([1, 0, 0, 0, 0])


@pytest.mark.parametrize(
    ("agree", "passes"),
    [
        ([0, 0, 0], 3),
        ([1, 1, 1, 1, 1, 1], 2),  # four and one more, then one that the text ends with
        ([1, 0, 1, 1, 0], 2),
    ],
)
def test_chains_as_an_engine_would_accept_them(agree: list[int], passes: int) -> None:
    assert students.chain(np.array(agree, dtype=bool)) == passes


def test_a_table_tells_differences_on_the_same_texts() -> None:
    figures = [0.5, 0.1, 0.1, 1.0, 1.0, 2.0]
    more = [0.6, *figures[1:]]
    rows = [
        {"student": "a", "texts": {"0": [[0.5, 48, 48], [0.7, 48, 10]], "1": [figures, figures]}},
        {"student": "b", "texts": {"0": [[0.6, 48, 40], [0.9, 48, 8]], "1": [more, more]}},
    ]
    raw = {"model": "m", "suite": "s", "max_tokens": 8, "target_nats": 2.0, "rows": rows}
    made = students.table(raw, "a").splitlines()
    assert len({line.count("|") for line in made[:4]}) == 1
    assert made[2].startswith("| `a` | 0.600 | 1.655 | 0.500 |")
    assert "0.750 (+0.1500 ± 0.1000) | 2.000 |" in made[3]
    assert "0.600 (+0.1000 ± 0.0000)" in made[3]
    assert "2 texts" in made[-1]
