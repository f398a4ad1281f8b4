"""The enumeration itself: every branch once, weights that add up, flips by the production stream's contract."""

from __future__ import annotations

import numpy as np
import pytest

from foredraft.core.law import of_weights
from foredraft.core.stream import Purpose
from foredraft.testing.exact import BranchingStream, Chooser, distance, outcomes


def test_every_branch_is_followed_once() -> None:
    law = outcomes(lambda chooser: (chooser.choose([0.5, 0.0, 0.5]), chooser.choose([0.25, 0.75])))
    assert law == {(0, 0): 0.125, (0, 1): 0.375, (2, 0): 0.125, (2, 1): 0.375}


def test_later_choices_may_depend_on_earlier_ones() -> None:
    law = outcomes(lambda chooser: "stop" if chooser.choose([0.9, 0.1]) else chooser.choose([0.5, 0.5]))
    assert law == pytest.approx({0: 0.45, 1: 0.45, "stop": 0.1})


def test_draws_have_the_law_and_ranks_begin_with_the_draw() -> None:
    law = of_weights(np.array([0, 2, 3]), np.array([1.0, 2.0, 5.0]), 4)
    drawn = outcomes(lambda chooser: BranchingStream(chooser).draw(law, Purpose.TARGET))
    assert drawn == {0: 0.125, 2: 0.25, 3: 0.625}
    ranked = outcomes(lambda chooser: tuple(BranchingStream(chooser).rank(law, 2, Purpose.TARGET)))
    assert ranked == {(0, 3): 0.125, (2, 3): 0.25, (3, 2): 0.625}


@pytest.mark.parametrize(
    ("p", "q", "passes"),
    [(0.2, 0.8, 0.25), (0.8, 0.2, 1.0), (0.3, 0.3, 1.0), (0.0, 0.5, 0), (0.0, 0.0, 0), (0.5, 0, 1)],
)
def test_flips_keep_the_contract_of_streams(p: float, q: float, passes: float) -> None:
    law = outcomes(lambda chooser: BranchingStream(chooser).flip(p, q, 0))
    assert law.get(True, 0.0) == passes


def test_distance_counts_what_only_one_law_has() -> None:
    assert distance({"a": 0.5, "b": 0.5}, {"a": 0.5, "c": 0.5}) == 0.5
    assert distance({"a": 1.0}, {"a": 1.0}) == 0.0


def test_positions_move_and_nothing_else() -> None:
    stream = BranchingStream(Chooser([])).at(4).ahead(3)
    assert (stream.position, stream.independent(2)) == (7, stream)
