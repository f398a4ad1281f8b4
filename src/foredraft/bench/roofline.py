"""What bounds a pass, and what theory says of drafts there: pure functions over a measured curve.

A pass reads all weights once, however many rows it has, and multiplies them with every row. It takes at least the
longer of the two: R = weight bytes / read bandwidth, and n rows at c seconds of arithmetic each. The knee, where both
take as long, is at R / c rows (Williams et al. 2009, for a pass). Up to it drafts are checked in time that was spent
waiting for memory; beyond it each costs its arithmetic.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from foredraft.bench.sweep import expected_tokens
from foredraft.engine.measure import Cost
from foredraft.policy.cost import pass_seconds

RATES = (0.5, 0.6, 0.7, 0.8, 0.9)
LONGEST = 16  # drafts a round that are looked at


@dataclass(frozen=True)
class Roofline:
    """cost: the measured curve. row: seconds of a row's arithmetic, from passes of so many rows (`wide`) that reading
    the weights is a small part. weights: multiplied with each row.
    """

    cost: Cost
    row: float
    wide: int
    weights: int

    @property
    def gmac_s(self) -> float:
        """Multiply-adds a second that the engine attains in wide passes, in 1e9."""
        return self.weights / self.row / 1e9

    @property
    def knee(self) -> float:
        """R / c: the rows at which arithmetic takes as long as reading, as predicted."""
        return self.cost.floor / self.row

    def predicted(self, rows: int) -> float:
        """max(R, rows * c): seconds of a pass that overlaps reading and arithmetic perfectly."""
        return max(self.cost.floor, rows * self.row)

    @property
    def measured_knee(self) -> float | None:
        """Where the line through the last two counts of the curve falls to what one row takes; None where it has no
        slope to speak of, or too few counts: then the knee lies beyond what was measured.
        """
        curve = self.cost.curve
        if len(curve.rows) < 3:
            return None
        low, high = curve.rows[-2:]
        slope = (curve.seconds(high) - curve.seconds(low)) / (high - low)
        flat = max(curve.seconds(1), self.cost.floor)
        if curve.seconds(high) < 1.05 * flat or slope <= 0:
            return None
        return max(1.0, high - (curve.seconds(high) - flat) / slope)


@dataclass(frozen=True)
class Best:
    """The best length of a chain at an acceptance rate, and what it brings. tokens: a round; speedup: S."""

    acceptance: float
    length: int
    tokens: float
    speedup: float


def best_length(acceptance: float, drafting: float, passes: Sequence[float]) -> Best:
    """The g that maximises S(g) = E(g) / (g c + v(g + 1)); the shorter of equals. 0 is plain decoding.

    drafting: c, of a token in plain passes. passes: v(0) … v(most + 1), in plain passes; 2211.17192, theorem 3.8, has
    v = 1 throughout.
    """
    best = Best(acceptance, 0, 1.0, 1.0)
    for length in range(1, len(passes) - 1):
        tokens = expected_tokens(acceptance, length)
        gained = tokens / (length * drafting + passes[length + 1])
        if gained > best.speedup + 1e-12:
            best = Best(acceptance, length, tokens, gained)
    return best


def factors(cost: Cost, longest: int = LONGEST) -> tuple[float, ...]:
    """v(0) … v(longest + 1): passes in plain ones, along straight lines between the counts measured."""
    seconds = pass_seconds(cost.curve.costs, longest + 1)
    return tuple(one / seconds[1] for one in seconds)
