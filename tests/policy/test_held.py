"""Where judging takes a notable share of a round sources are judged now and then, and asked as well as if always."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from foredraft.core.events import Step, Times
from foredraft.core.protocols import Costs, Load
from foredraft.core.tree import EMPTY, DraftTree, join
from foredraft.policy import adaptive
from foredraft.policy.adaptive import DEPTH, MOST, NEVER, Adaptive
from foredraft.policy.held import FIRST, ROUNDS
from foredraft.policy.pace import FEWEST, Pace
from policy_worlds import FLAT, ONE, REQUEST, STEEP, Chains, best_constant, curve_of, play

STRONG = DraftTree.chain([0] * 8, "match", score=[-0.01 * depth for depth in range(1, 9)])


@pytest.fixture(params=[math.inf, 0.0], ids=["judged always", "held"])
def holds(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Whether judging is never, or always, thought to take a notable share of a round."""
    monkeypatch.setattr(adaptive, "NOTABLE", request.param)
    return request.param == 0.0


def one_round(
    policy: Adaptive, state: Pace, *, right: bool = True, so_far: DraftTree = EMPTY, cost: float = 0.2
) -> bool:
    """In which a dear source brings two tokens, or none; whether it was asked. cost: in plain passes."""
    plain = policy.costs.seconds[0]
    budget = policy.budget(state, "dear", so_far, ONE)
    tree = DraftTree.chain([1, 1], "dear", score=[-0.1, -0.2]) if budget.rows else EMPTY
    (plan,) = policy.shape([state], [join([so_far, tree])], ONE)
    spent = (("dear", cost * plain),) if budget.rows else ()
    said = (0,) * 9 if len(so_far) else (1, 1, 0) if right and budget.rows else (7,)
    step = Step(0, said, len(said) - 1, plan.tree, rows=1 + len(plan.tree), seconds=Times(verify=plain), spent=spent)
    policy.update(state, replace(step, wall=plain * (1.0 + cost * len(spent)), expected=plan.expected))
    return bool(budget.rows)


def held(policy: Adaptive) -> Pace:
    """A text whose dear source pays, after the first round that judged for others."""
    state = policy.open(REQUEST)
    for _ in range(3 * FIRST):
        one_round(policy, state)
        if state.held.left:
            return state
    raise AssertionError("nothing was ever held")


def test_a_source_is_judged_now_and_then_where_judging_takes_long(holds: bool) -> None:
    policy = Adaptive(FLAT)
    state = policy.open(REQUEST)
    counts = []
    for _ in range(FIRST + 10 * (1 + ROUNDS)):
        assert one_round(policy, state)
        counts.append(state.worth("dear").gains.asked)
    assert counts[FIRST - 1] >= FIRST - 2, "the first times tell nothing but what it takes"
    judged = counts[-1] - counts[FIRST - 1]
    assert judged == pytest.approx(10 if holds else 10 * (1 + ROUNDS), abs=1)


@pytest.mark.parametrize("holds", [0.0], indirect=True)
def test_in_between_it_is_asked_where_it_paid_beside_others_so_strong(holds: bool) -> None:
    policy = Adaptive(FLAT)
    state = held(policy)
    strength = policy._best(state, STRONG).choice.tokens - 1.0
    assert strength > 3.2
    state.held.asked = {"dear": [True, True, True, True, False], "other": [False] * 5}
    assert policy.budget(state, "dear", EMPTY, ONE).depth == DEPTH
    assert policy.budget(state, "dear", STRONG, ONE) == NEVER
    assert policy.budget(state, "other", EMPTY, ONE) == NEVER
    assert policy.budget(state, "unheard", EMPTY, ONE) == NEVER
    assert policy.budget(state, "dear", EMPTY, Load(1, behind=100)) == NEVER, "catching up is to be judged"


@pytest.mark.parametrize("holds", [0.0], indirect=True)
def test_several_sequences_and_drawn_drafts_are_judged_every_round(holds: bool) -> None:
    policy = Adaptive(FLAT)
    state = held(policy)
    policy.budget(state, "dear", EMPTY, Load(2))
    assert not state.held.left
    state = policy.open(replace(REQUEST, draw="sampled"))
    for _ in range(3 * FIRST):
        one_round(policy, state)
        assert not state.held.left


@pytest.mark.parametrize("holds", [0.0], indirect=True)
def test_one_that_is_behind_and_left_alone_keeps_nobody_from_holding(holds: bool) -> None:
    policy = Adaptive(FLAT)
    state = policy.open(REQUEST)
    found = 0
    for _ in range(3 * FIRST):
        policy.budget(state, "reader", EMPTY, Load(1, behind=10_000, remaining=20, reads=True))
        one_round(policy, state)
        found += state.held.left > 0
    assert found


@pytest.mark.parametrize("holds", [0.0], indirect=True)
def test_a_balance_counts_the_rounds_that_were_not_judged(holds: bool) -> None:
    """Or one that is a burden would be let go later the less is judged."""
    policy = Adaptive(FLAT)
    state = policy.open(REQUEST)
    rounds = FIRST + 5 * (1 + ROUNDS)
    for _ in range(rounds):
        one_round(policy, state)
    assert state.worth("dear").told == pytest.approx(rounds, abs=1 + ROUNDS)


@pytest.mark.parametrize("holds", [0.0], indirect=True)
def test_nothing_is_held_while_less_comes_than_was_expected(holds: bool) -> None:
    policy = Adaptive(FLAT)
    state = held(policy)
    for _ in range(8):
        one_round(policy, state, right=False)
    assert not state.held.left
    before = state.worth("dear").gains.asked
    asked = [one_round(policy, state, right=False) for _ in range(6)]
    assert state.worth("dear").gains.asked - before == sum(asked), "every round was judged"


@pytest.mark.parametrize("costs", [FLAT, STEEP], ids=["flat", "steep"])
@pytest.mark.parametrize("acceptance", [0.02, 0.3, 0.6, 0.9])
def test_what_is_scored_is_settled_every_round_all_the_same(holds: bool, costs: Costs, acceptance: float) -> None:
    rate, _ = play(Adaptive(costs), {"chains": Chains(acceptance, 0.9)}, curve_of(costs), 1500)
    assert rate > 0.96 * best_constant(Chains(acceptance, 0.9), costs)


@pytest.mark.parametrize("holds", [math.inf], indirect=True)
@pytest.mark.parametrize("acceptance", [0.05, 0.6, 0.9])
@pytest.mark.parametrize("step", [0.05, 0.2, 0.5])
def test_dear_sources_are_asked_about_as_well_as_if_they_were_judged_always(
    holds: bool, acceptance: float, step: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    def rate() -> float:
        chains = {"dear": Chains(acceptance, acceptance, step)}
        return float(np.mean([play(Adaptive(FLAT), chains, curve_of(FLAT), 800, seed)[0] for seed in range(4)]))

    always = rate()
    monkeypatch.setattr(adaptive, "NOTABLE", 0.0)
    assert rate() > 0.97 * always


@pytest.mark.parametrize("holds", [math.inf], indirect=True)
def test_a_source_that_fails_from_some_round_on_is_left_alone_nearly_as_soon(
    holds: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def asked() -> int:
        policy = Adaptive(FLAT)
        state = policy.open(REQUEST)
        for _ in range(4 * FIRST):
            one_round(policy, state, cost=0.6)
        return sum(one_round(policy, state, right=False, cost=0.6) for _ in range(100))

    always = asked()
    assert always < 60
    monkeypatch.setattr(adaptive, "NOTABLE", 0.0)
    assert asked() < always + 2 * ROUNDS


def test_a_free_source_that_was_silent_soon_drafts_as_much_as_is_worth_its_rows(holds: bool) -> None:
    """What is drafted is bounded by what was scored of late; that must not keep a copied stretch from being drafted."""
    policy = Adaptive(FLAT)
    state = policy.open(REQUEST)
    lengths = []
    for number in range(120):
        copies = number >= 80
        budget = policy.budget(state, "lookup", EMPTY, ONE)
        score = [-0.02 * depth for depth in range(1, min(budget.rows, budget.depth) + 1)] if copies else []
        (plan,) = policy.shape([state], [DraftTree.chain([0] * len(score), "lookup", score=score)], ONE)
        said = (0,) * (1 + len(plan.tree))
        step = Step(0, said, len(plan.tree), plan.tree, rows=len(said), seconds=Times(verify=1.0), wall=1.0)
        policy.update(state, replace(step, expected=plan.expected, spent=(("lookup", 1e-4),)))
        lengths.append(len(plan.tree))
    assert max(lengths[:80]) == 0
    assert lengths[80] == (FEWEST if holds else DEPTH)
    assert lengths[83] > 2 * FEWEST


def test_one_that_is_tried_may_draft_all_it_can(holds: bool) -> None:
    """However little was scored of late, or it could never show that it pays again."""
    policy = Adaptive(FLAT)
    state = policy.open(REQUEST)
    for _ in range(6 * FIRST):
        one_round(policy, state, right=False)
    budgets = []
    for _ in range(400):
        budgets.append(policy.budget(state, "dear", EMPTY, ONE).rows)
        (plan,) = policy.shape([state], [EMPTY], ONE)
        step = Step(0, (7,), 0, plan.tree, rows=1, seconds=Times(verify=1.0), wall=1.0)
        policy.update(state, replace(step, expected=plan.expected))
    assert MOST in budgets


@pytest.mark.parametrize(("tokens", "asked"), [((), {"a": 0.0}), ((5,), {})], ids=["a prompt", "nobody asked"])
def test_rounds_without_drafts_say_nothing_of_how_much_is_scored(
    tokens: tuple[int, ...], asked: dict[str, float]
) -> None:
    policy = Adaptive(FLAT)
    state = policy.open(REQUEST)
    for _ in range(40):
        state.asked = dict(asked)
        policy.update(state, Step(0, tokens, rows=512, wall=1.0))
    assert state.most(MOST) == MOST


def test_drafts_that_bring_little_and_then_nothing_are_noticed() -> None:
    """The token that comes with every pass is no comfort."""
    state = Adaptive(FLAT).open(REQUEST)
    for _ in range(40):
        state.learn_luck(0.3, 0)
        state.learn_luck(0.3, 1)
    assert state.as_expected
    for _ in range(24):
        state.learn_luck(0.3, 0)
    assert not state.as_expected


@pytest.mark.parametrize(("second", "notable"), [(1.0, False), (1e-4, True)])
def test_what_judging_takes_is_measured(second: float, notable: bool) -> None:
    """Microseconds: nothing beside a pass of a second, and much beside one of a tenth of a millisecond."""
    policy = Adaptive(Costs(FLAT.rows, tuple(second * seconds for seconds in FLAT.seconds)))
    state = policy.open(REQUEST)
    for _ in range(3 * FIRST):
        one_round(policy, state)
    assert policy._notable == notable
