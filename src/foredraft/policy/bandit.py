"""A bandit over draft lengths, for study: no model of costs or acceptance, only tokens a second of whole rounds.

UCB1 (Auer et al. 2002, figure 1) on the arms "draft k tokens", as 2505.15141 and 2511.02017 do for arms of their own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import log, sqrt

from foredraft.core.events import Step
from foredraft.core.protocols import Budget, Load, Plan, Request
from foredraft.core.tree import DraftTree
from foredraft.policy.constant import shaped

LENGTHS = (0, 1, 2, 4, 8, 12)
LEAST = 1e-9  # seconds of a round: a coarse clock may see none


@dataclass
class Arms:
    """Of one sequence. pulls, tokens, seconds: of each arm; arm: this round's."""

    pulls: list[int]
    tokens: list[int]
    seconds: list[float]
    arm: int = 0


@dataclass(frozen=True)
class Bandit:
    """lengths: the arms. curiosity: how much an arm's uncertainty counts; 1 is UCB1's own."""

    lengths: tuple[int, ...] = LENGTHS
    curiosity: float = 0.3

    def open(self, request: Request) -> Arms:
        size = len(self.lengths)
        return Arms([0] * size, [0] * size, [0.0] * size)

    def budget(self, state: Arms, source: str, so_far: DraftTree, load: Load) -> Budget:
        length = self.lengths[state.arm]
        return Budget(length, length)

    def shape(self, states: Sequence[Arms], trees: Sequence[DraftTree], load: Load) -> list[Plan]:
        return [shaped(tree, self.lengths[state.arm]) for state, tree in zip(states, trees, strict=True)]

    def update(self, state: Arms, step: Step) -> None:
        if not step.tokens:
            return
        state.pulls[state.arm] += 1
        state.tokens[state.arm] += len(step.tokens)
        state.seconds[state.arm] += step.wall
        state.arm = self._next(state)

    def _next(self, state: Arms) -> int:
        """Every arm once, then the one with the highest bound; rewards are rates as a share of the best."""
        if 0 in state.pulls:
            return state.pulls.index(0)
        rates = [tokens / max(seconds, LEAST) for tokens, seconds in zip(state.tokens, state.seconds, strict=True)]
        best, rounds = max(rates), sum(state.pulls)
        bounds = [
            rate / best + self.curiosity * sqrt(2 * log(rounds) / pulls)
            for rate, pulls in zip(rates, state.pulls, strict=True)
        ]
        return bounds.index(max(bounds))
