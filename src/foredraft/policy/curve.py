"""Seconds of a pass by rows, as measured once and as passes have gone since.

A curve that was measured in a busy minute, or at another length of context, misleads for as long as it is believed. So
every pass is a measurement: how much slower passes are on the whole (which follows quickly), and how much dearer or
cheaper this count of rows is beside the others than the curve says (slowly, and shared with its neighbours).
"""

from __future__ import annotations

from math import exp, log

import numpy as np

from foredraft.core.protocols import Costs
from foredraft.policy.cost import pass_seconds

PACE_MEMORY = 20.0  # passes
BEND_MEMORY = 40.0
PRIOR = 3.0  # passes that the curve as measured counts for
REACH = 2.0  # rows over which what is learnt of one count says something of another
RANGE = log(4.0)  # a single pass is believed to be off by no more than this
EVERY = 16  # passes until the table is made anew


class Curve:
    """t(n) for n = 0 … most. Its state is the machine's, so all sequences share it."""

    def __init__(self, costs: Costs, most: int) -> None:
        self.measured = pass_seconds(costs, most)
        self._pace = 0.0  # log of how much slower passes are lately
        self._bends = [0.0] * (most + 1)  # mean of log(pass / measured) less the pace, by rows
        self._counts = [0.0] * (most + 1)
        self.handling = 0.0  # seconds in which what one source drafted is looked at, and cut
        self.judging = 0.0  # those in which the sources of a round are judged
        self._passes = 0
        self._seen = [0] * (most + 1)  # the pass in which a count of rows was chosen last
        self._slow = 1.0  # exp(pace)
        self._table = list(self.measured)
        self._slope = _least_slope(self._table)
        apart = np.abs(np.subtract.outer(np.arange(most + 1), np.arange(most + 1)))
        self._near = np.where(apart > 0, np.exp(-apart / REACH), 0.0)

    def __call__(self, rows: int) -> float:
        """Seconds of a pass of so many rows now; beyond the table along its last slope, as measured."""
        most = len(self._table) - 1
        if rows <= most:
            return self._slow * self._table[rows]
        return self._slow * (self._table[most] + (rows - most) * (self.measured[most] - self.measured[most - 1]))

    @property
    def slope(self) -> float:
        """Seconds of one more row where rows are cheapest, on the mean from a single one on."""
        return self._slow * self._slope

    def age(self, rows: int) -> int:
        """Passes since one of so many rows; of counts that it does not hold, none."""
        return self._passes - self._seen[rows] if rows < len(self._seen) else 0

    def add(self, rows: int, seconds: float) -> None:
        """A pass of `rows` took `seconds`; one larger than the curve says nothing."""
        if not 0 < rows < len(self._table) or seconds <= 0:
            return
        off = min(max(log(seconds / self(rows)), -RANGE), RANGE)
        self._pace += off / PACE_MEMORY
        self._slow = exp(self._pace)
        count = self._counts[rows] = min(self._counts[rows] + 1.0, BEND_MEMORY)
        bend = log(self._table[rows] / self.measured[rows]) + off
        self._bends[rows] += (bend - self._bends[rows]) / count
        self._passes += 1
        self._seen[rows] = self._passes
        if self._passes % EVERY == 0:
            self._table = self._bent()
            self._slope = _least_slope(self._table)

    def handled(self, seconds: float) -> None:
        """To look at what a source drafted, and to cut it, took so long; one that hung says little."""
        self.handling += (min(seconds, self(1)) - self.handling) / PACE_MEMORY

    def judged(self, seconds: float) -> None:
        """As `handled`, of all sources of a round."""
        self.judging += (min(seconds, self(1)) - self.judging) / PACE_MEMORY

    def _bent(self) -> list[float]:
        """The measured curve with what was learnt of each count and its neighbours; never falling."""
        counts, own = np.array(self._counts), np.multiply(self._counts, self._bends)
        # Not as a product of matrices: a library of those wakes threads for it, which then wait on the model's cores.
        near = np.einsum("ij,kj->ki", self._near, np.stack([own, counts]))
        around = near[0] / (PRIOR + near[1])
        bends = (own + PRIOR * around) / (counts + PRIOR)
        table: list[float] = np.maximum.accumulate(self.measured * np.exp(bends)).tolist()
        return table


def _least_slope(table: list[float]) -> float:
    return min(((table[rows] - table[1]) / (rows - 1) for rows in range(2, len(table))), default=0.0)
