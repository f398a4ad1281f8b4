"""What was claimed of drafted tokens, held against what came."""

from __future__ import annotations

import math
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))  # as when the script runs

import claims

from foredraft.core.events import Step
from foredraft.core.tree import ROOT, DraftTree

HALF = math.log(0.5)


def step(came: tuple[int, ...], path: tuple[int, ...]) -> Step:
    """Two siblings of different drafters, and one token below the first."""
    tree = DraftTree((1, 2, 3), (ROOT, ROOT, 0), (HALF, HALF, 2 * HALF), ("a+b", "b", "a"), (None,) * 3, (False,) * 3)
    return Step(0, came, tree=tree, path=path, rows=4)


def test_trials_are_those_whose_parent_came() -> None:
    hit = list(claims.trials_of(step((1, 3, 9), (0, 2))))
    assert [(sort, came) for sort, _, came in hit] == [
        (("a+b", "", False), True),
        (("b", "a", False), False),
        (("a", "", True), True),
    ]
    assert [claimed for _, claimed, _ in hit] == pytest.approx([0.5] * 3)
    assert [came for *_, came in claims.trials_of(step((2,), (1,)))] == [False, True]


def test_the_power_that_fits_is_found() -> None:
    """Of claims of a half, a quarter came: each is worth its square."""
    steps = 30 * [step((1, 9), (0,))] + 90 * [step((9,), ())]
    first = claims.by_sort(steps)[0]
    assert (first["drafted by"], first["trials"], first["came"], first["power"]) == ("a+b", 120, 0.25, 2.0)
