"""Prices of rounds, on runs whose costs are known."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest

from foredraft.bench.prices import Line, plain_pass, prices_of, rising
from foredraft.bench.record import Case, Trial
from foredraft.core.events import Step, Times
from foredraft.core.protocols import Costs
from foredraft.core.tree import DraftTree


@pytest.mark.parametrize(
    ("points", "base", "slope"),
    [
        ([], 0.0, 0.0),
        ([(0, 2.0), (0, 4.0)], 3.0, 0.0),  # nothing to tell a slope by
        ([(4, 2.0), (4, 4.0)], 0.0, 0.75),  # one depth: by the token
        ([(0, 1.0), (2, 5.0), (4, 9.0)], 1.0, 2.0),
        ([(0, 3.0), (2, 1.0)], 2.0, 0.0),  # more never costs less
        ([(1, 0.0), (2, 2.0)], 0.0, 0.8),  # nothing costs less than nothing: through the origin
    ],
)
def test_lines(points: Sequence[tuple[float, float]], base: float, slope: float) -> None:
    assert Line.through(points) == Line(pytest.approx(base), pytest.approx(slope))


def test_the_line_through_points_is_the_least_squares_one() -> None:
    line = Line.through([(0, 1.0), (1, 2.0), (2, 6.0)])
    assert (line.base, line.slope) == (pytest.approx(0.5), pytest.approx(2.5))
    assert line(4) == pytest.approx(10.5)


def test_what_falls_is_pooled_by_weight() -> None:
    assert rising([(1.0, 1), (2.0, 5)]) == (1.0, 2.0)
    assert rising([(1.0, 1), (3.0, 3), (1.0, 1), (4.0, 1)]) == (1.0, 2.5, 2.5, 4.0)
    assert rising([(3.0, 1), (2.0, 1), (1.0, 2)]) == (1.75, 1.75, 1.75)


def trial(steps: Sequence[Step], between: float = 0.0, opening: float = 0.0) -> Trial:
    return Trial(
        opening + between + math.fsum(step.seconds.total for step in steps), opening, "length", (), tuple(steps)
    )


def step(drafts: int, verify: float, draft: float = 0.0, tokens: int = 1) -> Step:
    tree = DraftTree.chain(range(drafts), "x")
    times = Times(draft=draft, verify=verify, sample=0.1 * tokens, other=0.02)
    return Step(
        0, (1,) * tokens, tokens - 1, tree, tuple(range(tokens - 1)), 1 + drafts, seconds=times, wall=times.total
    )


def case(pace: float = 1.0) -> Case:
    """Passes of 1, 3 and 5 rows take 1, 1.5 and 2.5; an arm beside it has met 9 rows."""
    plain = [step(0, pace)] * 4
    drafting = [step(2, 1.5 * pace, 0.3)] * 30 + [step(4, 2.5 * pace, 0.5)] * 30 + [step(0, 1.1 * pace, 0.1)] * 5
    other = [step(8, 4.0 * pace)] * 3 + [step(2, 99.0)] * 2
    trials = {"plain": trial(plain), "x": trial(drafting, between=6.5, opening=0.4), "y": trial(other)}
    return Case("a", "a", "t", 3, 0.1, (), trials)


def test_passes_are_priced_beside_the_plain_ones_of_their_case() -> None:
    prices = prices_of([case(), case(pace=3.0)], "x", ["y"], 4)
    assert prices.counts == (1, 3, 5, 9)
    assert prices.rows[1:] == pytest.approx((1.1, 1.3, 1.5, 2.0, 2.5, 2.875, 3.25, 3.625, 4.0))
    assert prices.of_pass(11) == pytest.approx(4.75)  # along the last slope
    assert plain_pass(case(pace=3.0)) == pytest.approx(3.0)


def test_the_rest_is_priced_by_what_it_depends_on() -> None:
    prices = prices_of([case()], "x", ["y"], 4)
    assert (prices.draft.base, prices.draft.slope) == (pytest.approx(0.1), pytest.approx(0.1))
    assert prices.sample(3) == pytest.approx(0.3)
    assert prices.rest == pytest.approx(0.02 + 6.5 / 65)
    times = prices.times(rows=3, depth=2, tokens=2, plain=2.0, drafting=0.5)
    assert times == Times(pytest.approx(0.15), pytest.approx(3.0), pytest.approx(0.2), pytest.approx(0.12))


def test_a_curve_that_was_measured_apart_fills_in_what_was_not_met() -> None:
    costs = Costs((1, 2, 3, 5, 17), (10.0, 10.0, 12.0, 20.0, 80.0))
    prices = prices_of([case()], "x", [], 4, costs)
    assert prices.counts == (1, 2, 3, 5, 17)
    # Met: 1.1, 1.5 and 2.5, which the curve has at 1, 1.2 and 2: it is bent by 1.1, 1.25 and 1.25, between them too.
    assert prices.rows[1:6] == pytest.approx((1.1, 1.175, 1.5, 2.0, 2.5))
    assert prices.of_pass(17) == pytest.approx(8.0 * 1.25)
