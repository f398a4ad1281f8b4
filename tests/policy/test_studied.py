"""The policies to study beside the adaptive one: what each says in cases worked by hand."""

from __future__ import annotations

from math import log, sqrt

import pytest

from foredraft.core.errors import UnknownName, UsageError
from foredraft.core.events import Step
from foredraft.core.protocols import AnyPolicy, Budget, Costs, Load, Request
from foredraft.core.tree import EMPTY, DraftTree
from foredraft.policy import check_policy, make_policy, names
from foredraft.policy.adaptive import Adaptive
from foredraft.policy.bandit import Bandit
from foredraft.policy.constant import Constant
from foredraft.policy.heuristic import Heuristic
from foredraft.policy.stopping import AdaEDL, Confidence, Cumulative, Stopping, Uncertainty

REQUEST, ONE = Request((1,), 0), Load(1)
COSTS = Costs((1, 2), (1.0, 1.1))


def made(text: str) -> AnyPolicy:
    return make_policy(text, lambda: COSTS)


def asked(policy: AnyPolicy, state: object) -> Budget:
    return policy.budget(state, "a", EMPTY, ONE)


def step(drafted: int, accepted: int, wall: float = 1.0) -> Step:
    tree = DraftTree.chain([1] * drafted, "a")
    return Step(0, (1,) * (accepted + 1), accepted, tree, rows=1 + drafted, wall=wall)


def test_they_are_made_by_name_with_the_value_that_their_paper_varies() -> None:
    assert made("constant:3") == Constant(3)
    assert made("constant") == Constant(4)
    assert made("heuristic:7") == Heuristic(7)
    assert made("confidence:0.25") == Stopping(Confidence(0.25))
    assert made("cumulative") == Stopping(Cumulative(0.3))
    assert made("adaedl:0.8") == AdaEDL(target=0.8)
    assert made("bandit:1") == Bandit(curiosity=1.0)
    assert isinstance(made("adaptive"), Adaptive)
    for name in names():
        check_policy(name)


@pytest.mark.parametrize(
    ("text", "error", "said"),
    [
        ("magic", UnknownName, "magic"),
        ("constant:two", UsageError, "must be a number"),
        ("constant:1.5", UsageError, "whole number"),
        ("confidence:2", UsageError, "from 0 to 1"),
        ("constant:nan", UsageError, "must be a number"),
        ("bandit:inf", UsageError, "must be a number"),
        ("adaptive:3", UsageError, "takes no value"),
    ],
)
def test_what_is_none_is_refused(text: str, error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        check_policy(text)


def test_hugging_faces_heuristic() -> None:
    """+2 when all was right, -1 else, never below 1; a round that drafted nothing changes nothing."""
    policy = Heuristic(2)
    state, lengths = policy.open(REQUEST), []
    for drafted, accepted in ((2, 2), (4, 3), (3, 0), (2, 0), (1, 0), (1, 0), (0, 0), (1, 1)):
        policy.update(state, step(drafted, accepted))
        lengths.append(asked(policy, state).rows)
    assert lengths == [4, 3, 2, 1, 1, 1, 1, 3]


def test_when_a_path_stops() -> None:
    def uniform() -> float:
        return log(4)

    assert [Confidence(0.4)(chance, 1.0, uniform) for chance in (0.39, 0.41)] == [True, False]
    assert [Cumulative(0.3)(1.0, path, uniform) for path in (0.29, 0.31)] == [True, False]
    bound = 1 - sqrt(0.2 * log(4))
    assert [Uncertainty(bound + d)(1.0, 1.0, uniform) for d in (0.01, -0.01)] == [True, False]
    assert not Uncertainty(0.99)(1.0, 1.0, lambda: -1e-17)  # an entropy of 0 that was rounded


def test_adaedl_moves_its_threshold_towards_the_acceptance_it_wants() -> None:
    policy = AdaEDL(threshold=0.5, target=0.9)
    state = policy.open(REQUEST)
    policy.update(state, step(4, 2))
    assert state.acceptance == pytest.approx(0.7)  # half of 0.9 and of 2/4
    assert state.value == pytest.approx(0.501)  # a tenth of the step
    for _ in range(10):
        policy.update(state, step(4, 4))
    assert state.acceptance > 0.99
    assert state.value < 0.5
    before = state.value
    policy.update(state, step(0, 0))
    assert state.value == before


def test_the_bandit_tries_every_arm_and_stays_with_the_best() -> None:
    policy = Bandit((0, 2, 4))
    state = policy.open(REQUEST)
    pulled = []
    for _ in range(600):
        length = asked(policy, state).rows
        pulled.append(length)
        accepted = {0: 0, 2: 2, 4: 1}[length]
        policy.update(state, step(length, accepted, wall=1 + 0.1 * length))
    assert set(pulled[:3]) == {0, 2, 4}
    assert pulled[300:].count(2) > 270
    pulled.clear()


def test_rounds_in_which_a_coarse_clock_sees_no_time_go_on() -> None:
    policy = Bandit((0, 2))
    state = policy.open(REQUEST)
    for _ in range(8):
        policy.update(state, step(2, 1, wall=0.0))
    assert sum(state.pulls) == 8


def test_chunks_of_the_prompt_teach_nothing() -> None:
    policy = Bandit((0, 2))
    state = policy.open(REQUEST)
    policy.update(state, Step(0, (), rows=512, wall=9.0))
    assert state.pulls == [0, 0]


def test_several_sources_are_cut_to_the_length_of_the_round() -> None:
    tree = DraftTree((1, 2, 3), (-1, -1, -1), (-1.0, -2.0, -3.0), ("a", "b", "a"), (None,) * 3, (False,) * 3)
    for policy in (Constant(2), Heuristic(2), Stopping(Confidence(), 2), AdaEDL(num_speculative_tokens=2)):
        one: AnyPolicy = policy
        assert one.shape([one.open(REQUEST)], [tree], ONE)[0].tree.tokens == (1, 2)
