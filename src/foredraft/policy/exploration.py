"""Which counts of rows are scored although another seems best, so that it is known what they take now.

Passes correct the curve (`policy/curve.py`), but only of the counts that are chosen, and a count that seems dear is not
chosen. Where memory is slow in some minutes and quick in others, one row becomes dearer or cheaper beside four, and a
policy that does not look would go on drafting in vain, or go on without drafts. So tokens are set aside for looking: a
small share of those that come. They are spent where they show the most: on counts not seen for long that cost little.
"""

from __future__ import annotations

from collections.abc import Sequence

from foredraft.policy.cost import most_of
from foredraft.policy.curve import Curve

SHARE = 0.0025  # of the tokens that come, to be lost to looking at most
SAVED = 1.0  # tokens that are set aside at most
AGE = 8  # passes until a count is looked at again
TRIFLE = 0.01  # tokens; what costs less is not told apart


class Exploration:
    """What is set aside, for one machine's curve."""

    def __init__(self, curve: Curve) -> None:
        self.curve = curve
        self._saved = 0.0

    def count(self, gains: Sequence[float], rows: int, tokens: float) -> int:
        """How many nodes to score: as a rule so many as gain most, now and then others.

        gains: by count of nodes, in tokens; rows: those of a pass without any; tokens: expected of the best.
        """
        best = most_of(gains)
        highest = gains[best]
        self._saved = min(self._saved + SHARE * tokens, SAVED)
        found, most = best, 0.0
        for count, gain in enumerate(gains):
            age, lost = self.curve.age(rows + count), highest - gain
            if count != best and age >= AGE and lost <= SAVED and age > most * (lost + TRIFLE):
                found, most = count, age / (lost + TRIFLE)
        if highest - gains[found] > self._saved:  # it has its turn once there is enough
            return best
        self._saved -= highest - gains[found]
        return found
