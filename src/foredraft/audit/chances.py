"""How likely counts are under a law: what statistical checks reject by, with a stated rate of false alarms."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping
from typing import TypeVar

Outcome = TypeVar("Outcome", bound=Hashable)


def chi_square(observed: Mapping[Outcome, int], expected: Mapping[Outcome, float]) -> float:
    """The probability of counts at least as far from a law as `observed`, when they come from it (Pearson's test).

    Outcomes expected fewer than five times are counted as one cell, and where that is too few still, with the rarest
    of the others; an outcome the law excludes gives 0. An approximation, as the test is.
    """
    count = sum(observed.values())
    if any(expected.get(outcome, 0.0) <= 0 for outcome in observed):
        return 0.0
    cells: list[tuple[float, float]] = []
    rare_seen = rare_expected = 0.0
    for outcome, prob in expected.items():
        if prob * count < 5:
            rare_seen, rare_expected = rare_seen + observed.get(outcome, 0), rare_expected + prob * count
        else:
            cells.append((observed.get(outcome, 0), prob * count))
    if rare_expected < 5 and cells:
        rarest = min(range(len(cells)), key=lambda cell: cells[cell][1])
        seen, mean = cells.pop(rarest)
        rare_seen, rare_expected = rare_seen + seen, rare_expected + mean
    cells.append((rare_seen, rare_expected))
    if len(cells) == 1:
        return 1.0
    statistic = sum((seen - mean) ** 2 / mean for seen, mean in cells)
    return chi_square_tail(statistic, len(cells) - 1)


def chi_square_tail(statistic: float, degrees: int) -> float:
    """P(a chi-square variable >= statistic): the regularised upper incomplete gamma function."""
    a, x = degrees / 2, statistic / 2
    if x <= 0:
        return 1.0
    scale = math.exp(-x + a * math.log(x) - math.lgamma(a))
    if x < a + 1:  # the series of the lower function
        term = total = 1 / a
        for k in range(1, 10_000):
            term *= x / (a + k)
            total += term
            if term < total * 1e-16:
                break
        return 1 - total * scale
    b = x + 1 - a  # Lentz's continued fraction of the upper one
    c, d = 1e300, 1 / b
    value = d
    for k in range(1, 10_000):
        b += 2
        factor = -k * (k - a)
        d = 1 / (factor * d + b)
        c = b + factor / c
        value *= d * c
        if abs(d * c - 1) < 1e-15:
            break
    return value * scale


def distance_limit(count: int, law: Mapping[Outcome, float], false_alarm: float) -> float:
    """The total variation from their own law that `count` draws exceed with probability `false_alarm` at most.

    Its mean is at most half the sum of sqrt(p (1 - p) / count), by Jensen's inequality, and one draw moves it by
    1 / count at most, so McDiarmid's inequality bounds what it exceeds its mean by.
    """
    mean = sum(math.sqrt(prob * (1 - prob) / count) for prob in law.values()) / 2
    return mean + math.sqrt(math.log(1 / false_alarm) / (2 * count))
