"""Rates of acceptance that are computed, against their definitions and against drawing."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))  # as when the script runs

import agreement


@pytest.mark.parametrize("seed", range(20))
def test_the_sums_are_those_of_the_definition(seed: int) -> None:
    chance = np.random.default_rng(seed)
    p, q = (chance.dirichlet(np.full(9, 0.5)) for _ in range(2))
    p[chance.integers(9)] = q[chance.integers(9)] = 0.0
    p, q = p / p.sum(), q / q.sum()
    expected = 0.0
    for i in np.flatnonzero((p > 0) & (q > 0)):
        expected += 1 / sum(max(p[j] / p[i], q[j] / q[i]) for j in range(9))
    assert agreement.coupled(p, q) == pytest.approx(expected, abs=1e-12)
    assert agreement.ratio(p, q) == pytest.approx(1 - np.abs(p - q).sum() / 2, abs=1e-12)
    assert agreement.coupled(p, q) <= agreement.ratio(p, q) + 1e-12
    distance = 1 - agreement.ratio(p, q)
    assert agreement.coupled(p, q) >= (1 - distance) / (1 + distance) - 1e-12


def test_it_is_how_often_both_draw_the_same() -> None:
    chance = np.random.default_rng(0)
    p, q = (chance.dirichlet(np.full(6, 0.7)) for _ in range(2))
    noise = chance.gumbel(size=(200_000, 6))
    same = (np.log(p) + noise).argmax(axis=1) == (np.log(q) + noise).argmax(axis=1)
    assert agreement.coupled(p, q) == pytest.approx(same.mean(), abs=0.006)
