"""Where judging takes a notable share of a round sources are judged now and then, and asked as well as if always."""

from __future__ import annotations

import math

import numpy as np
import pytest

from foredraft.core.events import Step, Times
from foredraft.core.protocols import Costs, Load
from foredraft.core.tree import EMPTY, DraftTree, join
from foredraft.policy.adaptive import NEVER, Adaptive
from foredraft.policy.held import FIRST, ROUNDS
from foredraft.policy.pace import Pace
from policy_worlds import FLAT, ONE, REQUEST, STEEP, Chains, best_constant, curve_of, play

NOTABLE, NOTHING = 0.05, 0.0
STRONG = DraftTree.chain([0] * 8, "match", score=[-0.01 * depth for depth in range(1, 9)])


def round_of(policy: Adaptive, state: Pace, judging: float, *, so_far: DraftTree = EMPTY) -> bool:
    """One in which a dear source brings two tokens; whether it was asked."""
    budget = policy.budget(state, "dear", so_far, ONE)
    tree = DraftTree.chain([1, 1], "dear", score=[-0.1, -0.2]) if budget.rows else EMPTY
    (plan,) = policy.shape([state], [join([so_far, tree])], ONE)
    spent = (("dear", 0.2),) if budget.rows else ()
    seconds = Times(draft=0.2 * len(spent) + judging * (1 + len(spent)), verify=1.0)
    said = (0,) * 9 if len(so_far) else (1, 1, 0)
    step = Step(0, said, len(said) - 1, plan.tree, rows=1 + len(plan.tree), seconds=seconds, spent=spent, wall=1.2)
    policy.update(state, step)
    return bool(budget.rows)


def judged(state: Pace) -> int:
    return state.worth("dear").gains.asked


@pytest.mark.parametrize(("judging", "often"), [(NOTHING, 1), (NOTABLE, 1 + ROUNDS)])
def test_a_source_is_judged_now_and_then_where_judging_takes_long(judging: float, often: int) -> None:
    policy = Adaptive(FLAT)
    state = policy.open(REQUEST)
    counts = []
    for _ in range(FIRST + 10 * (1 + ROUNDS)):
        assert round_of(policy, state, judging)
        counts.append(judged(state))
    assert counts[FIRST - 1] >= FIRST - 2, "the first times tell nothing but what it takes"
    assert counts[-1] - counts[FIRST - 1] == pytest.approx(10 * (1 + ROUNDS) / often, abs=1)


def test_in_between_it_is_asked_where_it_pays_beside_others_so_strong_and_nowhere_else() -> None:
    policy = Adaptive(STEEP)
    state = policy.open(REQUEST)
    while not state.held.left:
        round_of(policy, state, NOTABLE)
    pays, budget = state.held.asked["dear"]
    state.held.asked = {"dear": ([True, True, True, True, False], budget)}
    assert policy.budget(state, "dear", EMPTY, ONE) == budget
    flat = Adaptive(FLAT)
    assert flat.budget(state, "dear", STRONG, ONE) == NEVER
    assert flat.budget(state, "unheard", EMPTY, ONE) == NEVER
    assert flat.budget(state, "dear", EMPTY, Load(1, behind=100)) == NEVER, "catching up is to be judged"


def test_several_sequences_are_judged_every_round() -> None:
    policy = Adaptive(FLAT)
    state = policy.open(REQUEST)
    while not state.held.left:
        round_of(policy, state, NOTABLE)
    policy.budget(state, "dear", EMPTY, Load(2))
    assert not state.held.left


def test_a_balance_counts_the_rounds_that_were_not_judged() -> None:
    """Or one that is a burden would be let go later the less is judged."""
    policy = Adaptive(FLAT)
    state = policy.open(REQUEST)
    rounds = FIRST + 5 * (1 + ROUNDS)
    for _ in range(rounds):
        round_of(policy, state, NOTABLE)
    assert state.worth("dear").told == pytest.approx(rounds, abs=1 + ROUNDS)


@pytest.mark.parametrize("costs", [FLAT, STEEP], ids=["flat", "steep"])
@pytest.mark.parametrize("acceptance", [0.02, 0.3, 0.6, 0.9])
def test_what_is_scored_is_settled_every_round_all_the_same(costs: Costs, acceptance: float) -> None:
    chains = Chains(acceptance, 0.9)
    rate, _ = play(Adaptive(costs), {"chains": chains}, curve_of(costs), 1500, judging=NOTABLE)
    assert rate > 0.96 * best_constant(chains, costs)


@pytest.mark.parametrize("acceptance", [0.05, 0.6, 0.9])
@pytest.mark.parametrize("step", [0.05, 0.2, 0.5])
def test_dear_sources_are_asked_about_as_well_as_if_they_were_judged_always(acceptance: float, step: float) -> None:
    chains = {"dear": Chains(acceptance, acceptance, step)}
    rates = {
        judging: np.mean([play(Adaptive(FLAT), chains, curve_of(FLAT), 800, seed, judging)[0] for seed in range(4)])
        for judging in (NOTHING, NOTABLE)
    }
    assert math.isfinite(rates[NOTHING])
    assert rates[NOTABLE] > 0.97 * rates[NOTHING]
