"""The tree of a block: against all paths there are, and by its numbers."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import pytest

from foredraft.core.tree import ROOT
from foredraft.draft.block_tree import best_first, exp, sum_of_exps


def every_path(logits: np.ndarray, table: np.ndarray, depth: int) -> dict[tuple[int, ...], float]:
    """Log probability of every path up to a depth, by float64 softmaxes."""
    found: dict[tuple[int, ...], float] = {}
    for length in range(1, depth + 1):
        for path in itertools.product(range(logits.shape[1]), repeat=length):
            row = logits[length - 1].astype(np.float64) + (table[path[-2]] if length > 1 else 0.0)
            law = row - np.log(np.exp(row - row.max()).sum()) - row.max()
            found[path] = found.get(path[:-1], 0.0) + law[path[-1]]
    return found


def paths(places: Sequence[int], parents: Sequence[int]) -> list[tuple[int, ...]]:
    found: list[tuple[int, ...]] = []
    for place, parent in zip(places, parents, strict=True):
        found.append((*(() if parent == ROOT else found[parent]), place))
    return found


@pytest.mark.parametrize("seed", range(20))
def test_the_likeliest_of_all_paths(seed: int) -> None:
    rng = np.random.default_rng(seed)
    logits = rng.normal(scale=2, size=(3, 5)).astype(np.float32)
    table = rng.normal(scale=1.5, size=(5, 5)).astype(np.float32)
    rows, depth = int(rng.integers(1, 30)), int(rng.integers(1, 5))
    places, parents, scores = best_first(logits, lambda some: table[list(some)], rows, depth, 0.0)
    every = every_path(logits, table, min(depth, 3))
    wanted = sorted(every, key=lambda path: -every[path])[:rows]
    found = paths(places, parents)
    assert set(found) == set(wanted)
    assert len(set(found)) == len(found)
    np.testing.assert_allclose(scores, [every[path] for path in found], atol=1e-5)


def test_unlikely_paths_are_left_out() -> None:
    logits = np.log(np.array([[0.5, 0.3, 0.2], [0.8, 0.15, 0.05]])).astype(np.float32)
    places, parents, scores = best_first(logits, lambda some: np.zeros((len(some), 3), np.float32), 9, 2, 0.22)
    assert paths(places, parents) == [(0,), (1,), (0, 0), (1, 0)]
    np.testing.assert_allclose(np.exp(scores), [0.5, 0.3, 0.4, 0.24], rtol=1e-6)


@pytest.mark.parametrize(("rows", "depth"), [(0, 3), (3, 0)])
def test_no_room_no_tree(rows: int, depth: int) -> None:
    assert best_first(np.zeros((2, 3), np.float32), lambda some: np.zeros((len(some), 3)), rows, depth, 0.0)[0] == []


def test_what_is_no_number_has_no_children() -> None:
    logits = np.array([[0, 1], [np.nan, 0]], dtype=np.float32)
    places, parents, _ = best_first(logits, lambda some: np.zeros((len(some), 2), np.float32), 9, 2, 0.0)
    assert (places, parents) == ([1, 0], [ROOT, ROOT])


def test_powers_and_their_sums() -> None:
    x = -np.random.default_rng(0).exponential(10, 5000).astype(np.float32)
    x[:3] = 0, -87, -1e30
    wanted = np.exp(x.astype(np.float64))
    found = exp(x)
    assert found[2] == 0
    np.testing.assert_allclose(found[x > -80], wanted[x > -80], rtol=1e-6)
    assert sum_of_exps(x) == pytest.approx(wanted.sum(), rel=1e-6)
