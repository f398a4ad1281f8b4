"""The adaptive policy in worlds whose acceptance and costs are known: never far from the best that is constant."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from foredraft.core.events import Step, Times
from foredraft.core.law import of_weights
from foredraft.core.protocols import Costs, Load, Request
from foredraft.core.tree import EMPTY, DraftTree
from foredraft.policy import adaptive, exploration
from foredraft.policy.adaptive import DEPTH, FIRST, FIRST_READ, MOST, NEVER, Adaptive
from foredraft.policy.worth import TRIALS, TRYING, Brought
from policy_worlds import FLAT, ONE, REQUEST, STEEP, Chains, best_constant, curve_of, play


def seconds_of(policy: Adaptive, sources: dict[str, Chains], tokens: int, texts: int) -> float:
    """What one tenant's texts take that have so many tokens together, on FLAT."""
    total = 0.0
    for seed in range(texts):
        said = 0
        for step in play(policy, sources, curve_of(FLAT), tokens // texts, seed)[1]:
            if said < tokens // texts:
                said, total = said + len(step.tokens), total + step.wall
    return total


@pytest.mark.parametrize("costs", [FLAT, STEEP], ids=["flat", "steep"])
@pytest.mark.parametrize("acceptance", [0.02, 0.3, 0.6, 0.9])
@pytest.mark.parametrize("claimed", [0.3, 0.9], ids=["modest", "boasting"])
def test_free_chains_are_cut_about_as_well_as_the_best_constant_length(
    costs: Costs, acceptance: float, claimed: float
) -> None:
    chains = Chains(acceptance, claimed)
    rate, _ = play(Adaptive(costs), {"chains": chains}, curve_of(costs), 1500)
    assert rate > 0.96 * best_constant(chains, costs)


# Of one machine whose memory is slow in some minutes and quick in others, which changes what one row costs beside four.
SLOW = Costs((1, 2, 3, 4, 6, 8, 16), (29.6, 31.0, 34.0, 34.5, 45.3, 46.0, 89.5))
QUICK = Costs((1, 2, 3, 4, 6, 8, 16), (21.0, 25.0, 30.0, 35.5, 47.0, 48.0, 93.0))


@pytest.mark.parametrize(("measured", "truth"), [(SLOW, QUICK), (QUICK, SLOW)], ids=["quicker", "slower"])
@pytest.mark.parametrize("acceptance", [0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6])
def test_passes_that_are_never_chosen_are_tried_for_what_they_cost_now(
    measured: Costs, truth: Costs, acceptance: float
) -> None:
    chains = Chains(acceptance, acceptance)
    rates = [play(Adaptive(measured), {"chains": chains}, curve_of(truth), 800, seed)[0] for seed in range(6)]
    assert np.mean(rates) > 0.95 * best_constant(chains, truth)


@pytest.mark.parametrize(("measured", "truth"), [(SLOW, QUICK), (QUICK, SLOW)], ids=["quicker", "slower"])
def test_without_trying_some_would_not_be_found(measured: Costs, truth: Costs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exploration, "SHARE", 0.0)
    chains = Chains(0.5, 0.5)
    rates = [play(Adaptive(measured), {"chains": chains}, curve_of(truth), 800, seed)[0] for seed in range(6)]
    assert np.mean(rates) < 0.95 * best_constant(chains, truth)


@pytest.mark.parametrize("step", [0.05, 0.2, 0.5])
@pytest.mark.parametrize("acceptance", [0.1, 0.5, 0.8])
def test_chains_that_take_time_pay_or_are_left_alone(acceptance: float, step: float) -> None:
    chains = Chains(acceptance, acceptance, step)
    rate, _ = play(Adaptive(FLAT), {"chains": chains}, curve_of(FLAT), 3000)
    assert rate > 0.95 * best_constant(chains, FLAT)


def test_a_hopeless_source_is_hardly_asked_any_more() -> None:
    """Finding out whether it has become better takes about the share of the time that is meant for it."""
    _, steps = play(Adaptive(FLAT), {"slow": Chains(0.05, 0.05, 0.4)}, curve_of(FLAT), 6000)
    trying = sum(seconds for step in steps[1000:] for _, seconds in step.spent)
    assert 0 < trying < 1.6 * TRYING * sum(step.wall for step in steps[1000:])


@pytest.mark.parametrize("texts", [1, 20])
@pytest.mark.parametrize("claimed", [0.05, 0.5, 0.9])
@pytest.mark.parametrize("step", [0.05, 0.2])
def test_a_dear_source_that_never_pays_costs_next_to_nothing(step: float, claimed: float, texts: int) -> None:
    """Over 2,000 tokens of a tenant, in one text or in many: each of a pass of 1 without it."""
    taken = seconds_of(Adaptive(FLAT), {"dear": Chains(0.04, claimed, step)}, 2000, texts)
    assert taken < 1.02 * 2000


@pytest.mark.parametrize("texts", [1, 20])
@pytest.mark.parametrize("claimed", [0.5, 0.8])
def test_a_dear_source_that_always_pays_is_used_about_always(claimed: float, texts: int) -> None:
    chains = Chains(0.8, claimed, 0.1)
    taken = seconds_of(Adaptive(FLAT), {"dear": chains}, 2000, texts)
    assert taken < 1.06 * 2000 / best_constant(chains, FLAT)


def test_seconds_in_which_tokens_are_drawn_are_no_reason_to_draft() -> None:
    """They come with every token, drafted or not, so a row is worth as much as if they took no time."""
    policy = Adaptive(STEEP)
    state = policy.open(REQUEST)
    for _ in range(300):
        policy.update(state, Step(0, (9,), rows=1, seconds=Times(verify=1.0, sample=3.0), wall=4.0))
    assert state.rate == pytest.approx(1.0, rel=0.01)
    tree = DraftTree.chain([0], "chains", score=[math.log(0.6)])
    assert not len(policy.shape([state], [tree], ONE)[0].tree)


def test_what_a_source_is_taken_to_bring_is_held_against_what_came() -> None:
    """One whose every claim is vain does not pay, however sure it is of what it says where nothing was seen yet."""
    policy = Adaptive(FLAT)
    state = policy.open(REQUEST)
    tree = DraftTree.chain([0, 0, 0], "dear", score=[-0.01, -0.02, -0.03])
    asked = 0
    for _ in range(12):
        rows = policy.budget(state, "dear", EMPTY, ONE).rows
        asked += rows > 0
        (plan,) = policy.shape([state], [tree if rows else EMPTY], ONE)
        seconds = Times(verify=curve_of(FLAT)(1 + len(plan.tree)))
        wall, spent = seconds.verify + 0.5 * (rows > 0), (("dear", 0.5 * (rows > 0)),)
        policy.update(
            state, Step(0, (9,), 0, plan.tree, rows=1 + len(plan.tree), seconds=seconds, spent=spent, wall=wall)
        )
    assert state.gains_of("dear").net(0, state.rate) < 0
    assert asked < 10


def test_a_lucky_round_does_not_make_every_second_look_dear() -> None:
    policy = Adaptive(FLAT)
    state = policy.open(REQUEST)
    plain = state.rate
    step = Step(0, (0,) * 9, 8, DraftTree.chain([0] * 8, "chains"), rows=9, seconds=Times(verify=1.2))
    state.learn_rate(replace(step, wall=1.2))
    assert plain < state.rate < 2 * plain


def test_a_source_that_costs_even_at_rest_is_let_go_where_it_does_not_pay() -> None:
    """One that pays stays, whatever it takes to keep up; so does one that costs nothing at rest."""

    def left(added: float, rest: float) -> bool:
        policy = Adaptive(FLAT)
        state = policy.open(REQUEST)
        tree = DraftTree.chain([0], "a", score=[math.log(added)])
        for round_ in range(60):
            budget = policy.budget(state, "a", EMPTY, ONE)
            if budget.leave:
                return True
            asked = budget.rows > 0
            (plan,) = policy.shape([state], [tree if asked else EMPTY], ONE)
            right = asked and round_ % 10 < 10 * added
            tokens, spent = ((0, 9) if right else (9,)), rest + (0.1 if asked else 0.0)
            seconds = Times(verify=curve_of(FLAT)(1 + len(plan.tree)))
            step = Step(0, tokens, int(right), plan.tree, rows=1 + len(plan.tree), seconds=seconds)
            policy.update(state, replace(step, wall=seconds.verify + spent, spent=(("a", spent),)))
        return False

    assert left(0.05, rest=0.05)
    assert not left(0.05, rest=0.0)
    assert not left(0.9, rest=0.05)


def test_nobody_drafts_far_before_it_is_known_what_that_takes() -> None:
    """A draft model that is asked for the first time, and has the prompt to read, writes a few tokens and no more."""
    _, steps = play(Adaptive(FLAT), {"model": Chains(0.3, 0.99, 0.3)}, curve_of(FLAT), 12)
    assert all(sum(seconds for _, seconds in step.spent) <= 4 * 0.3 + 1e-9 for step in steps[:2])


def test_a_source_that_becomes_good_is_found_again() -> None:
    policy, sources = Adaptive(FLAT), {"late": Chains(0.02, 0.5, 0.2)}
    play(policy, sources, curve_of(FLAT), 300)
    chains = Chains(0.85, 0.5, 0.2)
    rate, _ = play(policy, {"late": chains}, curve_of(FLAT), 3000, seed=1)
    assert rate > 0.9 * best_constant(chains, FLAT)


def test_two_sources_are_better_than_either() -> None:
    """One is free and poor, the other dear and good: the dear one is asked for what it adds."""
    free, dear = Chains(0.4, 0.4), Chains(0.8, 0.8, 0.1)
    both, _ = play(Adaptive(FLAT), {"free": free, "dear": dear}, curve_of(FLAT), 3000)
    assert both > 0.97 * max(best_constant(free, FLAT), best_constant(dear, FLAT))


def test_what_is_expected_comes() -> None:
    _, steps = play(Adaptive(FLAT), {"chains": Chains(0.7, 0.5)}, curve_of(FLAT), 3000)
    told = [step.expected for step in steps[500:] if step.expected is not None]
    assert len(told) == 2500
    assert sum(tokens for tokens, _ in told) == pytest.approx(sum(len(step.tokens) for step in steps[500:]), rel=0.04)
    assert sum(seconds for _, seconds in told) == pytest.approx(sum(step.wall for step in steps[500:]), rel=0.04)


def test_a_drawn_tree_is_scored_whole_and_its_length_is_settled_before() -> None:
    policy = Adaptive(STEEP)
    state = policy.open(replace(REQUEST, draw="sampled"))
    state.worth("model").spent(0.5, 1)
    budget = policy.budget(state, "model", EMPTY, ONE)
    assert budget.rows == budget.depth < DEPTH
    law = of_weights(np.array([0, 1]), np.array([1.0, 1.0]), 2)
    tree = DraftTree.chain([0, 1], "model", score=[-9.0, -99.0], laws=[law, law])
    assert policy.shape([state], [tree], ONE)[0].tree == tree


def test_a_request_whose_drafts_are_not_drawn_may_draft_more_than_is_scored(monkeypatch: pytest.MonkeyPatch) -> None:
    policy = Adaptive(STEEP)
    state = policy.open(REQUEST)
    state.worth("model").spent(0.5, 1)
    assert policy.budget(state, "model", EMPTY, ONE).rows < MOST, "it is new"
    for _ in range(TRIALS):
        state.gains_of("model").add(0, Brought(3.0, 3.0, 1.0))
    policy.update(state, Step(0, (9,), rows=1, wall=1.0))
    assert policy.budget(state, "model", EMPTY, ONE).depth == DEPTH
    assert policy.budget(state, "model", EMPTY, ONE).rows == MOST
    monkeypatch.setattr(adaptive, "NOTABLE", 0.0)  # as where looking at what is never scored takes long
    for scored, asked in ((30, MOST), (10, 17), (1, 8)):
        for _ in range(60):
            state.learn_scored(scored)
        assert policy.budget(state, "model", EMPTY, ONE).rows == asked


def test_in_a_round_of_several_verifiers_only_drawn_trees_stay_whole() -> None:
    """And their rows count: beside a wide tree others get less."""
    policy = Adaptive(Costs((1, 16, 17, 64), (1.0, 1.05, 3.0, 12.0)))
    law = of_weights(np.array([0, 1]), np.array([1.0, 1.0]), 2)
    drawn = DraftTree.chain([0] * 8, "model", score=[-99.0] * 8, laws=[law] * 8)
    points = DraftTree.chain([0] * 12, "chains", score=[math.log(0.8) * depth for depth in range(1, 13)])
    states = [policy.open(replace(REQUEST, draw="sampled")), policy.open(REQUEST)]
    plans = policy.shape(states, [drawn, points], Load(2))
    assert plans[0].tree == drawn
    assert 0 < len(plans[1].tree) <= 16 - (1 + len(drawn)) - 1


def test_tenants_do_not_learn_from_each_other() -> None:
    policy = Adaptive(FLAT)
    play(policy, {"chains": Chains(0.9, 0.1)}, curve_of(FLAT), 300)
    tree = DraftTree.chain([0], "chains", score=[math.log(0.1)])
    other, same = policy.open(Request((1,), 0, tenant="other")), policy.open(REQUEST)
    for rows in (1, 2):  # no pass of so many is due to be looked at
        policy.curve.add(rows, policy.curve(rows))
    plans = [policy.shape([state], [tree], ONE)[0] for state in (other, same)]
    expected = [plan.expected[0] for plan in plans if plan.expected is not None]
    assert expected[0] == pytest.approx(1.1)
    assert expected[1] > 1.65


def test_several_sequences_share_the_rows_of_a_pass() -> None:
    """With a knee at 16 rows, eight sequences get fewer nodes each than one alone."""
    policy = Adaptive(Costs((1, 16, 17, 64), (1.0, 1.05, 3.0, 12.0)))
    tree = DraftTree.chain([0] * 12, "chains", score=[math.log(0.8) * depth for depth in range(1, 13)])
    alone = policy.shape([policy.open(REQUEST)], [tree], ONE)
    states = [policy.open(REQUEST) for _ in range(8)]
    shared = policy.shape(states, [tree] * 8, Load(8))
    assert len(alone[0].tree) > 8
    assert sum(1 + len(plan.tree) for plan in shared) <= 16


def asks_to_join(policy: Adaptive, load: Load, said: int = 0) -> bool:
    state = policy.open(REQUEST)
    policy.update(state, Step(0, (9,) * said, rows=1, seconds=Times(verify=1.0), wall=1.0 * max(said, 1)))
    return policy.budget(state, "model", EMPTY, load).rows > 0


def test_a_source_catches_up_only_where_the_text_to_come_pays_for_it() -> None:
    """It takes 0.1 seconds a token to read; a plain pass takes 1."""
    policy = Adaptive(FLAT, reading={"model": 0.1})
    assert asks_to_join(policy, Load(1, behind=100))
    assert not asks_to_join(policy, Load(1, behind=400))
    assert asks_to_join(policy, Load(1, behind=400), said=200), "a text that is long already is likely to go on"
    assert not asks_to_join(policy, Load(1, behind=100, remaining=10))
    assert asks_to_join(policy, Load(1, behind=2, remaining=10)), "that is no catching up"


def test_a_model_that_was_never_asked_reads_only_where_half_of_what_is_hoped_pays() -> None:
    """Of a text of 64 tokens to come half a token of hope brings 21, half of that 13; to read takes 0.08 s a token."""
    for behind, asked in ((100, True), (200, False), (400, False)):
        policy = Adaptive(FLAT)
        load = Load(1, behind=behind, reads=True)
        assert policy.budget(policy.open(REQUEST), "model", EMPTY, load) == (FIRST_READ if asked else NEVER)


def test_a_model_is_asked_for_one_level_until_it_is_known_what_a_level_takes() -> None:
    """Every level is a pass of its own: here a tenth of the target's, then as many as their chances are worth."""
    policy, asked = Adaptive(FLAT), []
    state = policy.open(REQUEST)
    for behind, seconds in ((20, 3.0), (0, 0.1), (1, 0.1), (1, 0.1)):
        asked.append(policy.budget(state, "model", EMPTY, Load(1, behind=behind, reads=True)))
        tree = DraftTree.chain([0], "model", score=[math.log(0.9)])
        (plan,) = policy.shape([state], [tree], ONE)
        step = Step(0, (0, 9), 1, plan.tree, rows=1 + len(plan.tree), seconds=Times(verify=1.0))
        policy.update(state, replace(step, wall=1.0 + seconds, spent=(("model", seconds),)))
    assert asked[:2] == [FIRST_READ, FIRST_READ], "what it took to read the text is no price of a level"
    assert [(budget.rows, budget.depth) for budget in asked[2:]] == [(FIRST.rows, FIRST.depth)] * 2
    assert all(0.05 < budget.min_step < 0.5 for budget in asked[2:])


def test_how_long_reading_takes_is_learnt_and_no_price_of_a_draft() -> None:
    policy = Adaptive(FLAT)
    for _ in range(8):
        state = policy.open(REQUEST)
        for behind, seconds in ((100, 5.0 + 0.2), (1, 0.2), (1, 0.2)):
            policy.budget(state, "model", EMPTY, Load(1, behind=behind))
            (plan,) = policy.shape([state], [DraftTree.chain([0], "model", score=[math.log(0.9)])], ONE)
            step = Step(0, (0, 9), 1, plan.tree, rows=1 + len(plan.tree), seconds=Times(verify=1.0))
            policy.update(state, replace(step, wall=1.0 + seconds, spent=(("model", seconds),)))
    assert policy.reading["model"] == pytest.approx(0.05, rel=0.1)
    assert policy.open(REQUEST).worth("model").seconds == pytest.approx(0.2, rel=0.05)
