"""Every policy passes the kit for policies, and policies that do harm do not."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest

from foredraft.core.protocols import AnyPolicy, Budget, Costs, Load, Plan, Request
from foredraft.core.tree import DraftTree
from foredraft.policy import make_policy, names
from foredraft.policy.adaptive import Adaptive
from foredraft.policy.constant import Constant
from foredraft.policy.pace import Pace
from foredraft.testing.policies import PolicyChecks

COSTS = Costs((1, 2, 4, 8), (1.0, 1.1, 1.3, 1.8))


class TestPolicies(PolicyChecks):
    @pytest.fixture(params=names())
    def policy(self, request: pytest.FixtureRequest) -> AnyPolicy:
        return make_policy(request.param, lambda: COSTS)


class Drawn(Adaptive):
    """For requests whose verifier has drafts drawn by chance."""

    def open(self, request: Request) -> Pace:
        return super().open(replace(request, draw="sampled"))


class TestDrawn(PolicyChecks):
    @pytest.fixture
    def policy(self) -> AnyPolicy:
        return Drawn(COSTS)


class Negative(Constant):
    def budget(self, state: Constant, source: str, so_far: DraftTree, load: Load) -> Budget:
        return Budget(-1, 4)


class Cutter(Constant):
    """Cuts whatever it is given, laws or not."""

    def shape(self, states: Sequence[Constant], trees: Sequence[DraftTree], load: Load) -> list[Plan]:
        return [Plan(tree.select(range(min(2, len(tree))))) for tree in trees]


class Orphans(Constant):
    """Keeps the last nodes, as children of whatever stands there now."""

    def shape(self, states: Sequence[Constant], trees: Sequence[DraftTree], load: Load) -> list[Plan]:
        return [Plan(replace(tree, parents=(-1,) * len(tree))) for tree in trees]


class Forgetful(Constant):
    """One plan for all."""

    def shape(self, states: Sequence[Constant], trees: Sequence[DraftTree], load: Load) -> list[Plan]:
        return [Plan(trees[0])]


@pytest.mark.parametrize(
    ("make", "check"),
    [
        (Negative, lambda kit, policy: kit.test_budgets_are_counts_and_what_is_scored_was_drafted(policy, 0)),
        (Orphans, lambda kit, policy: kit.test_budgets_are_counts_and_what_is_scored_was_drafted(policy, 0)),
        (Cutter, lambda kit, policy: kit.test_a_tree_that_was_drawn_stays_whole(policy)),
        (Forgetful, lambda kit, policy: kit.test_sequences_of_a_round_get_a_plan_each(policy)),
    ],
    ids=["negative", "orphans", "cutter", "forgetful"],
)
def test_the_kit_catches(make: type[Constant], check: Callable[[PolicyChecks, Constant], None]) -> None:
    with pytest.raises(AssertionError):
        check(PolicyChecks(), make(4))
    check(PolicyChecks(), Constant(4))
