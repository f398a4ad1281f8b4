"""Looking at counts of rows that are not chosen: what it may cost, and that none is forgotten."""

from __future__ import annotations

from foredraft.core.protocols import Costs
from foredraft.policy.curve import Curve
from foredraft.policy.exploration import AGE, SHARE, Exploration

GAINS = [0.0, 0.2, 0.5, 0.45]


def counts(gains: list[float], rounds: int, tokens: float = 2.0) -> list[int]:
    """How many nodes are scored, round by round; every pass is seen."""
    curve = Curve(Costs((1, 4), (1.0, 1.5)), 8)
    exploration, found = Exploration(curve), []
    for _ in range(rounds):
        found.append(exploration.count(gains, 1, tokens))
        curve.add(1 + found[-1], 1.0)
    return found


def test_as_a_rule_the_best_is_taken() -> None:
    found = counts(GAINS, 1000)
    assert found[:AGE] == [2] * AGE
    assert found.count(2) > 850


def test_every_count_is_looked_at_again_and_the_dearer_the_more_rarely() -> None:
    found = counts(GAINS, 2000)
    assert 0 < found.count(0) <= found.count(1) < found.count(3)


def test_no_more_is_lost_than_was_set_aside() -> None:
    for gains in (GAINS, [1.0, 0.0, 0.0, 0.0], [0.0, 0.99, 1.0, 0.98]):
        lost = 0.0
        for round_, count in enumerate(counts(gains, 1000), start=1):
            lost += max(gains) - gains[count]
            assert lost <= SHARE * 2.0 * round_ + 1e-9


def test_without_drafts_there_is_nothing_to_look_at() -> None:
    assert counts([0.3], 50) == [0] * 50
