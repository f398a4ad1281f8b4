"""Each reason is the one by which the policy decides, and a generation tells that of every source."""

from __future__ import annotations

import pytest

from foredraft.core.protocols import Costs
from foredraft.policy.adaptive import ENOUGH, Adaptive
from foredraft.policy.pace import Tenant
from foredraft.policy.why import reason, reasons
from foredraft.policy.worth import TOLD, TRIALS, Brought, Worth

PLAIN, RATE = 10e-3, 100.0
GOOD, BAD = Brought(1.0, 1.0, 2.5e-3), Brought(0.1, 0.1, 2.5e-3)
WEAK, STRONG = 0.0, 2.0


def asked(seconds: float, *rounds: tuple[Brought, float]) -> Worth:
    """A source that took so long and brought this, others being so strong."""
    worth = Worth()
    for brought, strength in rounds:
        worth.spent(seconds, 1)
        worth.earned(worth.gains, strength, brought, RATE)
    return worth


def test_one_that_was_never_asked() -> None:
    assert reason(Worth(), PLAIN, RATE).startswith("not asked")


def test_one_that_costs_next_to_nothing() -> None:
    assert reason(asked(PLAIN / 200, (GOOD, WEAK)), PLAIN, RATE) == (
        "always asked: it takes 0.05 ms of a round, less than 1% of a plain pass"
    )


def test_one_that_is_not_judged_yet() -> None:
    assert f"has drafted 2 of the {TRIALS} times" in reason(asked(PLAIN / 5, *[(BAD, WEAK)] * 2), PLAIN, RATE)


def test_one_that_pays() -> None:
    assert reason(asked(PLAIN / 5, *[(GOOD, WEAK)] * 10), PLAIN, RATE) == (
        "asked for what it adds: it takes 2.00 ms of a round and adds 1.00 tokens, "
        "where its time and its rows bring 0.25 otherwise"
    )


def test_one_that_does_not() -> None:
    worth = asked(PLAIN / 5, *[(BAD, WEAK)] * 10)
    assert not worth.wanted(worth.gains, WEAK, RATE, PLAIN)
    found = reason(worth, PLAIN, RATE)
    assert found.startswith(f"left alone, but for a try every {worth.patience} rounds or more: where asked, it takes 2.00 ms")
    assert "adds 0.10 tokens, where its time and its rows bring 0.25 otherwise" in found


def test_what_did_not_come_true_is_not_counted() -> None:
    """A thousand tokens expected of which none came: what it adds is nearly nothing."""
    assert "adds 0.0" in reason(asked(PLAIN / 5, *[(Brought(10.0, 0.0, 2.5e-3), WEAK)] * 100), PLAIN, RATE)


def test_one_that_pays_beside_weak_drafts_alone() -> None:
    worth = asked(PLAIN / 5, *[(GOOD, WEAK)] * 10, *[(BAD, STRONG)] * 20)
    assert worth.wanted(worth.gains, WEAK, RATE, PLAIN) and not worth.wanted(worth.gains, STRONG, RATE, PLAIN)
    assert reason(worth, PLAIN, RATE).startswith(
        "asked only where the drafts of others are expected to bring at most 0.3 tokens: "
    )


def test_one_that_is_a_burden() -> None:
    worth = asked(PLAIN / 5, *[(BAD, WEAK)] * ENOUGH)
    for _ in range(TOLD):
        worth.rested(PLAIN / 20)
    assert reason(worth, PLAIN, RATE).startswith("let go: 0.50 ms of every round")


def test_a_tenant_sees_its_own() -> None:
    policy = Adaptive(Costs((1, 8), (PLAIN, 2 * PLAIN)))
    policy.tenants[""] = Tenant(worths={"suffix": asked(PLAIN / 200, (GOOD, WEAK))})
    policy.tenants["other"] = Tenant(worths={"block": Worth()})
    assert list(reasons(policy, "", RATE)) == ["suffix"] and list(reasons(policy, "other", RATE)) == ["block"]
    assert reasons(policy, "nobody", RATE) == {}


@pytest.mark.parametrize("place", range(5))
def test_every_class_of_strength_has_words(place: int) -> None:
    strength = (0.0, 0.5, 1.0, 2.0, 5.0)[place]
    worth = asked(PLAIN / 5, *[(GOOD, strength)] * 10, *[(BAD, (0.0 if place else 5.0))] * 30)
    words = ("at most 0.3", "0.3 to 0.8", "0.8 to 1.6", "1.6 to 3.2", "more than 3.2")
    assert words[place] in reason(worth, PLAIN, RATE)
