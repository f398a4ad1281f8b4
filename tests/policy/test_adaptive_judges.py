"""How the adaptive policy judges what drafting takes: several sequences, drawn drafts, machines that stand still."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from foredraft.core.events import Step, Times
from foredraft.core.law import of_weights
from foredraft.core.protocols import Costs, Load, Request
from foredraft.core.tree import EMPTY, DraftTree
from foredraft.policy.adaptive import Adaptive
from foredraft.policy.pace import Pace
from foredraft.policy.worth import TRYING

ROWS, SECONDS = (1, 2, 4, 8, 16, 32), (1.0, 1.02, 1.05, 1.1, 1.3, 2.5)
FLAT = Costs(ROWS, SECONDS)  # an engine for which rows are nearly free, up to its knee
REQUEST = Request((1,), 0)
ONE = Load(1)


def flat(rows: int) -> float:
    return float(np.interp(rows, ROWS, SECONDS))


def test_claims_of_next_to_nothing_do_no_harm() -> None:
    policy = Adaptive(FLAT)
    state = policy.open(REQUEST)
    tree = DraftTree.chain([0] * 24, "odd", score=[-100.0 * depth for depth in range(1, 25)])
    for _ in range(3):
        policy.budget(state, "odd", EMPTY, ONE)
        (plan,) = policy.shape([state], [tree], ONE)
        policy.update(state, Step(0, (9,), 0, plan.tree, rows=1 + len(plan.tree), wall=1.0, spent=(("odd", 0.001),)))
    assert not len(plan.tree)


def one_round(policy: Adaptive, states: list[Pace], drafted: DraftTree, right: int, spent: float, load: Load) -> int:
    """A round of several alike, whose dear source drafts a tree of which so many tokens are right; how many asked."""
    asked = [policy.budget(state, "dear", EMPTY, load).rows > 0 for state in states]
    plans = policy.shape(states, [drafted if one else EMPTY for one in asked], load)
    rows = sum(1 + len(plan.tree) for plan in plans)
    wall = flat(rows) + spent * sum(asked)
    for state, plan, one in zip(states, plans, asked, strict=True):
        taken = min(right, plan.tree.depth)
        seconds = Times(verify=flat(rows) / len(states))
        step = Step(0, (0,) * taken + (9,), taken, plan.tree, rows=1 + len(plan.tree), seconds=seconds, wall=wall)
        policy.update(state, replace(step, spent=(("dear", spent),) if one else ()))
    return sum(asked)


def test_a_drawn_source_that_never_pays_is_left_alone() -> None:
    """What is drawn by chance is scored whole, and judged like any other."""
    policy = Adaptive(FLAT)
    state = policy.open(replace(REQUEST, draw="sampled"))
    law = of_weights(np.array([0, 1]), np.array([1.0, 1.0]), 2)
    drawn = DraftTree.chain([0], "dear", score=[math.log(0.7)], laws=[law])
    asked = [one_round(policy, [state], drawn, 0, 0.3, ONE) for _ in range(300)]
    assert 0 < sum(asked[100:]) < 20


def test_a_drawn_source_that_pays_is_asked() -> None:
    policy = Adaptive(FLAT)
    state = policy.open(replace(REQUEST, draw="sampled"))
    law = of_weights(np.array([0, 1]), np.array([1.0, 1.0]), 2)
    drawn = DraftTree.chain([0, 0], "dear", score=[math.log(0.7), math.log(0.5)], laws=[law, law])
    assert sum(one_round(policy, [state], drawn, 2, 0.3, ONE) for _ in range(100)) == 100


def test_where_several_sequences_wait_a_source_has_to_bring_more() -> None:
    """Each takes 0.1 seconds to draft what is right in three rounds of five: alone that pays, for eight it does not."""

    def asked(sequences: int) -> float:
        policy, load = Adaptive(FLAT), Load(sequences)
        states = [policy.open(REQUEST) for _ in range(sequences)]
        tree = DraftTree.chain([0], "dear", score=[math.log(0.6)])
        rounds = [one_round(policy, states, tree, round_ % 5 < 3, 0.1, load) for round_ in range(100)]
        return sum(rounds[50:]) / (50 * sequences)

    assert asked(1) == 1
    assert asked(8) < 0.2


def test_a_pass_that_hung_is_soon_forgotten() -> None:
    """Or one that took in another sequence's prompt."""
    policy = Adaptive(FLAT)
    state = policy.open(REQUEST)
    for _ in range(60):
        one_round(policy, [state], EMPTY, 0, 0.0, ONE)
    before = state.rate
    (plan,) = policy.shape([state], [EMPTY], ONE)
    policy.update(state, Step(0, (9,), rows=1, seconds=Times(verify=1e3), wall=1e3, expected=plan.expected))
    assert state.rate > 0.85 * before


def test_a_source_that_hung_once_is_not_lost() -> None:
    policy = Adaptive(FLAT)
    state, tree = policy.open(REQUEST), DraftTree.chain([0], "dear", score=[math.log(0.8)])
    for _ in range(60):
        one_round(policy, [state], tree, 1, 0.05, ONE)
    one_round(policy, [state], tree, 1, 1e3, ONE)
    assert 0 < policy.budget(state, "dear", EMPTY, ONE).min_step < 0.5
    assert sum(one_round(policy, [state], tree, 1, 0.05, ONE) for _ in range(60)) == 60


def test_one_that_fails_to_catch_up_is_not_asked_for_ever() -> None:
    """A draft model that raises before it has read anything is behind by the whole text in every round."""
    policy, load = Adaptive(FLAT), Load(1, behind=40)
    state = policy.open(REQUEST)
    assert 0 < sum(one_round(policy, [state], EMPTY, 0, 0.5, load) for _ in range(200)) < 20


def test_a_new_one_that_has_not_paid_so_far_does_not_read_a_long_prompt_to_be_tried() -> None:
    """Asked twice, in vain, it is new still; to catch up now would take as long as a hundred passes."""
    policy = Adaptive(FLAT, reading={"dear": 0.01})
    state, tree = policy.open(REQUEST), DraftTree.chain([0], "dear", score=[math.log(0.1)])
    for _ in range(4):
        one_round(policy, [state], tree, 0, 0.9, ONE)
    assert state.worth("dear").new
    long = policy.open(REQUEST)
    assert not one_round(policy, [long], tree, 0, 100.0, Load(1, behind=10_000))


def test_one_that_caught_up_in_vain_once_is_not_lost() -> None:
    """A draft model reads for two hundred passes, fails, and pays from then on."""
    policy = Adaptive(FLAT, reading={"dear": 0.01})
    state = policy.open(REQUEST)
    tree = DraftTree.chain([0], "dear", score=[math.log(0.8)])
    one_round(policy, [state], EMPTY, 0, 200.0, Load(1, behind=17))
    assert sum(one_round(policy, [state], tree, 1, 0.05, ONE) for _ in range(60)) > 50


def test_catching_up_that_took_long_once_is_tried_again() -> None:
    """Once in so many short texts that it takes a small share of their time."""
    policy, load = Adaptive(FLAT, reading={"dear": 1.0}), Load(1, behind=40)
    tree, asked = DraftTree.chain([0], "dear", score=[math.log(0.8)]), list[int]()
    for _ in range(400):
        state = policy.open(REQUEST)
        asked += [one_round(policy, [state], tree, 1, 4.0, load) for _ in range(25)]
    assert asked.index(1) == pytest.approx(40 / TRYING, rel=0.01)
    assert policy.reading["dear"] < 0.6


def test_what_is_read_with_the_prompt_is_no_price_of_a_round() -> None:
    """A head sees the prompt in the first round, when it cannot draft yet: no draft in vain, and no time at rest."""
    policy = Adaptive(FLAT)
    for asked in (True, False):
        state = policy.open(REQUEST)
        if asked:
            assert policy.budget(state, "dear", EMPTY, ONE).rows
        policy.shape([state], [EMPTY], ONE)
        step = Step(0, (9,), rows=300, seconds=Times(verify=30.0), wall=33.0, spent=(("dear", 3.0),))
        policy.update(state, step)
    worth = policy.open(REQUEST).worth("dear")
    assert (worth.gains.asked, worth.rest, worth.seconds) == (0, 0.0, 0.0)


def test_the_time_of_a_step_is_learnt_whatever_a_drafter_calls_itself_in_its_trees() -> None:
    policy = Adaptive(FLAT)
    state = policy.open(REQUEST)
    tree = DraftTree.chain([0] * 3, "another name", score=[-0.1, -0.2, -0.3])
    for _ in range(8):
        one_round(policy, [state], tree, 3, 0.3, ONE)
    assert state.worth("dear").step == pytest.approx(0.1)
