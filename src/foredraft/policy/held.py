"""Whom to ask, held for some rounds: where judging takes a notable share of a round, it is not done every round.

In between a source is asked where, as it seemed, it pays beside others so strong, and nobody learns whether it did. How
many of its nodes are scored is settled every round, for that differs from round to round.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

ROUNDS = 5  # for which it holds
FIRST = 8  # rounds of a text that are all judged
NOTABLE = 0.03  # of a plain pass: what takes less is not spared


@dataclass
class Held:
    """left: rounds for which it holds still; passed: those since sources were judged. asked: of each source, by how
    strong the others are, whether it is asked."""

    left: int = 0
    passed: int = 0
    asked: Mapping[str, Sequence[bool]] = field(default_factory=dict)

    def hold(self, asked: Mapping[str, Sequence[bool]]) -> None:
        """From the round on that comes."""
        self.left, self.passed, self.asked = (ROUNDS if asked else 0), 0, asked

    def went(self, as_expected: bool) -> None:
        """A round is over for which it held; no longer where drafts fail more often than is expected."""
        self.left, self.passed = (self.left - 1 if as_expected else 0), self.passed + 1
