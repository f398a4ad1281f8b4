"""What limits a speed-up, on runs where that is known."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import pytest

from foredraft.bench.limits import ACCEPTANCE, DRAFTING, GROWTH, REST, limits_of
from foredraft.bench.record import Case, Trial
from foredraft.core.events import Step, Times
from foredraft.core.tree import DraftTree


def trial(steps: Sequence[Step], opening: float = 0.0) -> Trial:
    return Trial(opening + math.fsum(step.seconds.total for step in steps), opening, "length", (), tuple(steps))


def case(times: Times, accepted: int = 2, drafts: int = 4, opening: float = 0.0) -> Case:
    """12 tokens. A plain round takes 1: the pass 0.8, the rest 0.2."""
    plain = [Step(at, (at,), rows=1, seconds=Times(verify=0.8, sample=0.2)) for at in range(12)]
    tree, size = DraftTree.chain(range(drafts), "x"), accepted + 1
    round_ = Step(0, tuple(range(size)), accepted, tree, tuple(range(accepted)), 1 + drafts, seconds=times)
    trials = {"plain": trial(plain), "x": trial([round_] * (12 // size), opening)}
    return Case("a", "a", "t", 3, 0.1, (), trials)


def test_the_speed_up_is_taken_apart_and_comes_together_again() -> None:
    found = limits_of([case(Times(draft=0.2, verify=1.2, sample=0.2, other=0.1), opening=0.4)], "x")
    assert (found.tokens, found.rows, found.drafted, found.drafting) == (3.0, 5.0, 4.0, 1.0)
    assert found.growth == pytest.approx(1.5)
    assert found.draft == pytest.approx(0.2 + 0.4 / 4)
    assert found.after_passes == pytest.approx(3 / (1.2 + 0.2))
    assert found.after_drafting == pytest.approx(3 / (1.2 + 0.2 + 0.3))
    assert found.speedup == pytest.approx(3 / (1.2 + 0.3 + 0.3))
    assert found.speedup == pytest.approx(12 / (0.4 + 4 * 1.7))  # plain seconds / own seconds
    assert found.arithmetic == pytest.approx(5 / 3)


@pytest.mark.parametrize(
    ("times", "accepted", "limit"),
    [
        (Times(draft=2.0, verify=0.8, sample=0.2), 3, DRAFTING),
        (Times(draft=0.0, verify=4.0, sample=0.2), 3, GROWTH),
        (Times(draft=0.0, verify=0.9, sample=0.2), 0, ACCEPTANCE),
        (Times(draft=0.0, verify=0.8, sample=0.2, other=3.0), 3, REST),
    ],
)
def test_the_limit_is_what_would_help_most(times: Times, accepted: int, limit: str) -> None:
    found = limits_of([case(times, accepted)], "x")
    assert found.main == limit
    assert all(gained >= found.speedup - 1e-12 for gained in found.without.values())


def test_of_a_tree_only_one_branch_can_be_right() -> None:
    tree = DraftTree((1, 2, 3, 4), (-1, -1, 0, 0), (0.0,) * 4, ("x",) * 4, (None,) * 4, (False,) * 4)
    whole = case(Times(verify=0.8, sample=0.2))
    bushy = [replace(step, tree=tree) for step in whole.trials["x"].steps]
    found = limits_of([replace(whole, trials={**whole.trials, "x": trial(bushy)})], "x")
    assert (found.drafted, found.depth) == (4.0, 2.0)
    assert found.without[ACCEPTANCE] == pytest.approx(3.0)


def test_a_run_without_drafts_is_told_from_one_with() -> None:
    found = limits_of([case(Times(verify=0.8, sample=0.2), 0, 0)], "x")
    assert (found.drafted, found.drafting, found.tokens, found.rows) == (0.0, 0.0, 1.0, 1.0)
    assert found.speedup == pytest.approx(1.0)


def test_nothing_emitted_is_nothing_to_explain() -> None:
    empty = Case("a", "a", "t", 3, 0.1, (), {"plain": trial([]), "x": trial([])})
    with pytest.raises(ValueError, match="nothing"):
        limits_of([empty], "x")
