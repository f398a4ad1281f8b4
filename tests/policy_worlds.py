"""Worlds whose acceptance and costs are known, for a policy to play in."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from foredraft.core.events import Step, Times
from foredraft.core.protocols import Budget, Costs, Load, Request
from foredraft.core.tree import EMPTY, DraftTree, join
from foredraft.policy.adaptive import Adaptive

ROWS = (1, 2, 4, 8, 16, 32)
FLAT = Costs(ROWS, (1.0, 1.02, 1.05, 1.1, 1.3, 2.5))  # an engine for which rows are nearly free, up to its knee
STEEP = Costs(ROWS, tuple(map(float, ROWS)))  # one for which they are not
REQUEST = Request((1,), 0)
ONE = Load(1)


@dataclass(frozen=True)
class Chains:
    """Drafts chains of which every token is accepted with the same chance; claims another. step: seconds a token."""

    acceptance: float
    claimed: float
    step: float = 0.0

    def draft(self, source: str, budget: Budget) -> tuple[DraftTree, float]:
        length = min(budget.rows, budget.depth)
        if self.claimed > 0:
            least = max(budget.min_gain, budget.min_step)
            while length > 1 and self.claimed**length < least:
                length -= 1
        score = [math.log(self.claimed) * depth for depth in range(1, length + 1)]
        return DraftTree.chain([0] * length, source, score=score), self.step * length


def play(
    policy: Adaptive, sources: dict[str, Chains], curve: Callable[[int], float], rounds: int, seed: int = 0
) -> tuple[float, list[Step]]:
    """Tokens a second over the second half of a text, and its steps. Token 0 is right, 9 is what else may come."""
    draw, state, steps = np.random.default_rng(seed), policy.open(REQUEST), []
    for _ in range(rounds):
        tree, spent = EMPTY, {}
        accepted = {name: int(draw.geometric(1 - chains.acceptance)) - 1 for name, chains in sources.items()}
        for name, chains in sources.items():
            budget = policy.budget(state, name, tree, ONE)
            if budget.rows:
                drafted, spent[name] = chains.draft(name, budget)
                # Each source guesses tokens of its own: right ones are 0 as far as it is right, then its own mark.
                right = accepted[name]
                tokens = tuple(0 if depth < right else 5 + ord(name[0]) for depth in range(len(drafted)))
                tree = join([tree, replace(drafted, tokens=tokens)])
        (plan,) = policy.shape([state], [tree], ONE)
        taken = 0
        node = plan.tree.child(-1, 0)
        while node is not None:
            taken, node = taken + 1, plan.tree.child(node, 0)
        longest = max(accepted.values(), default=0)
        emitted = (0,) * taken + ((0,) if taken < longest else (9,))
        verify = curve(1 + len(plan.tree))
        step = Step(
            0,
            emitted,
            taken,
            plan.tree,
            rows=1 + len(plan.tree),
            seconds=Times(verify=verify),
            spent=tuple(spent.items()),
        )
        step = replace(step, wall=verify + sum(spent.values()), expected=plan.expected)
        policy.update(state, step)
        steps.append(step)
    half = steps[rounds // 2 :]
    return sum(len(step.tokens) for step in half) / sum(step.wall for step in half), steps


def curve_of(costs: Costs) -> Callable[[int], float]:
    return lambda rows: float(np.interp(rows, costs.rows, costs.seconds))


def best_constant(chains: Chains, costs: Costs) -> float:
    """Tokens a second of the best constant length, by formula."""
    curve, a = curve_of(costs), chains.acceptance
    return max((1 - a ** (g + 1)) / (1 - a) / (g * chains.step + curve(g + 1)) for g in range(31))
