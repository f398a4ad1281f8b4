"""What the rounds of a recorded run cost, by what they do: the figures that a round which was never run is priced with.

A pass is priced beside the plain passes of its own case, so that a slow minute of the machine, or a long context, falls
on both. Everything else is a line: drafting by the depth of the draft, sampling by the tokens emitted.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from foredraft.bench.entrants import PLAIN
from foredraft.bench.record import Case, Trial
from foredraft.core.events import Times
from foredraft.core.protocols import Costs
from foredraft.policy.cost import pass_seconds

FEWEST = 3  # passes of a count of rows, to say what it costs where nothing else does
OFTEN = 30  # … to say it without passes of others, and against a curve that was measured apart


@dataclass(frozen=True)
class Line:
    """y = base + slope * x, neither below 0: to do more never costs less, and nothing costs less than nothing."""

    base: float
    slope: float

    def __call__(self, x: float) -> float:
        return self.base + self.slope * x

    @staticmethod
    def through(points: Sequence[tuple[float, float]]) -> Line:
        """The least squares line. Where all points have one x above 0, the line through the origin: there is nothing
        to tell a base from a slope by, and the literature counts drafting by the token (2211.17192, section 3.3).
        """
        if not points:
            return Line(0.0, 0.0)
        x_mean, y_mean = (math.fsum(values) / len(points) for values in zip(*points))
        spread = math.fsum((x - x_mean) ** 2 for x, _ in points)
        if spread == 0:
            return Line(0.0, y_mean / x_mean) if x_mean > 0 else Line(y_mean, 0.0)
        slope = max(0.0, math.fsum((x - x_mean) * (y - y_mean) for x, y in points) / spread)
        base = y_mean - slope * x_mean
        if base < 0:
            return Line(0.0, math.fsum(x * y for x, y in points) / math.fsum(x * x for x, _ in points))
        return Line(base, slope)


@dataclass(frozen=True)
class Prices:
    """rows[n]: a pass of n rows in plain passes of the same case. counts: numbers of rows that were met, the others
    lie on straight lines between them. draft: seconds by depth. sample: seconds by tokens. rest: seconds of a round
    beyond all that.
    """

    rows: tuple[float, ...]
    counts: tuple[int, ...]
    draft: Line
    sample: Line
    rest: float

    def of_pass(self, rows: int) -> float:
        """A pass in plain ones; beyond the table along its last slope."""
        last = len(self.rows) - 1
        if rows <= last:
            return self.rows[rows]
        return self.rows[last] + (rows - last) * (self.rows[last] - self.rows[last - 1])

    def times(self, rows: int, depth: float, tokens: float, plain: float, drafting: float = 1.0) -> Times:
        """Seconds of a round. plain: seconds of a plain pass. drafting: what drafts cost, in what they cost here."""
        return Times(drafting * self.draft(depth), plain * self.of_pass(rows), self.sample(tokens), self.rest)


def prices_of(cases: Sequence[Case], arm: str, known: Iterable[str], most: int, costs: Costs | None = None) -> Prices:
    """Prices of an arm's rounds. known: arms whose passes tell what rows cost. costs: what they cost, where it was
    measured apart: it gives the shape between the counts that were met often. most: rows to price.
    """
    counts, factors = _factors(cases, arm, known, FEWEST if costs is None else OFTEN)
    if costs is not None:
        counts, factors = _filled(counts, factors, costs)
    trials = [case.trials[arm] for case in cases]
    steps = [step for trial in trials for step in trial.steps if step.tokens]
    every = [*steps, *(step for case in cases for step in case.trials[PLAIN].steps if step.tokens)]
    rounds = max(1, len(steps))
    return Prices(
        pass_seconds(Costs(counts, factors), max(most, *counts)),
        counts,
        Line.through([(step.tree.depth, step.seconds.draft) for step in steps]),
        Line.through([(len(step.tokens), step.seconds.sample) for step in every]),
        math.fsum(step.seconds.other for step in steps) / rounds + math.fsum(map(_between, trials)) / rounds,
    )


def plain_pass(case: Case) -> float:
    """Mean seconds of the plain passes of a case."""
    seconds = [step.seconds.verify for step in case.trials[PLAIN].steps]
    return math.fsum(seconds) / len(seconds)


def _factors(
    cases: Sequence[Case], arm: str, known: Iterable[str], fewest: int
) -> tuple[tuple[int, ...], tuple[float, ...]]:
    """Passes by rows, in mean plain passes of their cases, for each count that was met often enough.

    The arm's own passes count where there are enough of them, else those of all. Totals by totals, because totals are
    predicted: passes that were held up are part of them, on both sides. A count that seems cheaper than a smaller one
    is noise, and both get their common mean.
    """
    own, every = _met(cases, [arm]), _met(cases, [arm, *known])
    found = {1: own.get(1, _Met(1.0, 1.0, 1))}
    for rows, met in every.items():
        chosen = own[rows] if rows in own and own[rows].passes >= OFTEN else met
        if chosen.passes >= fewest:
            found[rows] = chosen
    counts = tuple(sorted(found))
    return counts, rising([(found[rows].seconds / found[rows].plain, found[rows].plain) for rows in counts])


@dataclass(frozen=True)
class _Met:
    """Passes of one count of rows: their seconds, those of as many plain passes of their cases, and how many."""

    seconds: float = 0.0
    plain: float = 0.0
    passes: int = 0


def _met(cases: Sequence[Case], arms: Iterable[str]) -> dict[int, _Met]:
    met: dict[int, _Met] = {}
    for case in cases:
        one = plain_pass(case)
        for step in (step for arm in dict.fromkeys(arms) for step in case.trials[arm].steps):
            if step.rows == 1 + len(step.tree):  # others took in some prompt
                so_far = met.get(step.rows, _Met())
                met[step.rows] = _Met(so_far.seconds + step.seconds.verify, so_far.plain + one, so_far.passes + 1)
    return met


def rising(values: Sequence[tuple[float, float]]) -> tuple[float, ...]:
    """The never falling values nearest to (value, weight) in the least squares sense: neighbours that fall are pooled
    (Ayer et al. 1955).
    """
    pools: list[tuple[float, float, int]] = []  # mean, weight, how many
    for value, weight in values:
        pools.append((value, weight, 1))
        while len(pools) > 1 and pools[-2][0] >= pools[-1][0]:
            (low, low_weight, low_count), (high, high_weight, high_count) = pools[-2:]
            both = low_weight + high_weight
            pools[-2:] = [((low * low_weight + high * high_weight) / both, both, low_count + high_count)]
    return tuple(mean for mean, _, count in pools for _ in range(count))


def _filled(
    counts: tuple[int, ...], factors: tuple[float, ...], costs: Costs
) -> tuple[tuple[int, ...], tuple[float, ...]]:
    """Counts that were not met, by the shape of a curve that was measured apart, between those that were.

    The curve is bent so that it goes through what was met: it may have been measured at another context.
    """
    most = max(*counts, *costs.rows)
    curve = pass_seconds(costs, most)
    bends = [factor / (curve[rows] / curve[1]) for rows, factor in zip(counts, factors, strict=True)]
    found = dict(zip(counts, factors, strict=True))
    for rows in costs.rows:
        if rows not in found:
            found[rows] = curve[rows] / curve[1] * _between_points(counts, bends, rows)
    ordered = tuple(sorted(found))
    return ordered, tuple(found[rows] for rows in ordered)


def _between_points(xs: Sequence[int], ys: Sequence[float], x: int) -> float:
    """y at x, along straight lines between the points; the nearest point's beyond them."""
    if x <= xs[0] or x >= xs[-1]:
        return ys[0] if x <= xs[0] else ys[-1]
    above = next(index for index, one in enumerate(xs) if one > x)
    part = (x - xs[above - 1]) / (xs[above] - xs[above - 1])
    return ys[above - 1] + part * (ys[above] - ys[above - 1])


def _between(trial: Trial) -> float:
    """Seconds on the clock that are no round's."""
    return max(0.0, trial.seconds - trial.opening - math.fsum(step.seconds.total for step in trial.steps))
