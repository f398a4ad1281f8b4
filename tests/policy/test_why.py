"""Reasons are those by which the policy decides (`Worth.wanted`)."""

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


def test_one_that_was_not_measured() -> None:
    assert reason(Worth(), PLAIN, RATE) == "not measured yet"


def test_one_that_costs_next_to_nothing() -> None:
    assert reason(asked(PLAIN / 200, (GOOD, WEAK)), PLAIN, RATE) == (
        "always asked: it takes 0.05 ms of a round, less than 1% of a plain pass"
    )


def test_one_that_is_not_judged_yet() -> None:
    assert f"was asked 2 of the {TRIALS} times" in reason(asked(PLAIN / 5, *[(BAD, WEAK)] * 2), PLAIN, RATE)


def test_one_that_pays() -> None:
    assert reason(asked(PLAIN / 5, *[(GOOD, WEAK), (GOOD, STRONG)] * 100), PLAIN, RATE) == (
        "asked for what it adds: it takes 2.00 ms of a round and is thought to add 0.98 tokens, "
        "where its time and its rows bring 0.25 otherwise"
    )


def test_one_that_does_not() -> None:
    worth = asked(PLAIN / 5, *[(BAD, WEAK)] * 200)
    assert not worth.wanted(worth.gains, WEAK, RATE, PLAIN)
    found = reason(worth, PLAIN, RATE)
    assert found.startswith("left alone, but for a try every 29 rounds: where asked, it takes 2.00 ms of a round")
    assert "is thought to add 0.11 tokens, where its time and its rows bring 0.25 otherwise" in found
    assert next(count for count in range(2, 99) if worth.wanted(worth.gains, WEAK, RATE, PLAIN)) == 29


def test_what_did_not_come_true_is_not_counted() -> None:
    """A thousand tokens expected of which none came: what it adds is nearly nothing."""
    assert "add 0.0" in reason(asked(PLAIN / 5, *[(Brought(10.0, 0.0, 2.5e-3), WEAK)] * 300), PLAIN, RATE)


def test_one_that_pays_beside_weak_drafts_alone() -> None:
    worth = asked(PLAIN / 5, *[(GOOD, WEAK)] * 10, *[(BAD, STRONG)] * 20)
    assert worth.wanted(worth.gains, WEAK, RATE, PLAIN)
    assert not worth.wanted(worth.gains, STRONG, RATE, PLAIN)
    assert reason(worth, PLAIN, RATE).startswith(
        "asked only where the drafts of others are expected to bring at most 1.6 tokens: "
    )


def test_one_that_is_a_burden() -> None:
    worth = asked(PLAIN / 5, *[(BAD, WEAK)] * ENOUGH)
    for _ in range(TOLD):
        worth.rested(PLAIN / 20)
    assert reason(worth, PLAIN, RATE).startswith(f"let go in a text once it was asked {ENOUGH} times: 0.50 ms of every")


def test_one_that_only_learning_makes_dear_is_asked_all_the_same() -> None:
    worth = asked(PLAIN / 200, (BAD, WEAK))
    for _ in range(2 * TOLD):
        worth.rested(PLAIN / 20)
    assert worth.burden(PLAIN / 100, RATE)
    assert reason(worth, PLAIN, RATE).startswith("always asked")


def test_a_tenant_sees_its_own() -> None:
    policy = Adaptive(Costs((1, 8), (PLAIN, 2 * PLAIN)))
    policy.tenants[""] = Tenant(worths={"suffix": asked(PLAIN / 200, (GOOD, WEAK))})
    policy.tenants["other"] = Tenant(worths={"block": Worth()})
    assert list(reasons(policy, "", RATE)) == ["suffix"]
    assert list(reasons(policy, "other", RATE)) == ["block"]
    assert reasons(policy, "nobody", RATE) == {}


def test_a_text_without_a_speed_tells_nothing() -> None:
    policy = Adaptive(Costs((1, 8), (PLAIN, 2 * PLAIN)))
    policy.tenants[""] = Tenant(worths={"suffix": asked(PLAIN / 200, (GOOD, WEAK))})
    assert reasons(policy, "", 0.0) == {}


@pytest.mark.parametrize("reach", range(6))
def test_where_it_is_asked_is_where_the_sentence_says(reach: int) -> None:
    """Of five classes of strength it pays in the first `reach`."""
    rounds = [(GOOD if place < reach else BAD, strength) for place, strength in enumerate((0.0, 0.5, 1.0, 2.0, 5.0))]
    worth = asked(PLAIN / 5, *rounds * 30)
    wanted = []
    for _, strength in rounds:
        worth.idle = 0
        wanted.append(bool(worth.wanted(worth.gains, strength, RATE, PLAIN)))
    assert wanted == [True] * reach + [False] * (5 - reach)
    words = {0: "left alone", 5: "asked for what it adds"}
    where = ("", "at most 0.3 ", "at most 0.8 ", "at most 1.6 ", "at most 3.2 ", "")[reach]
    assert reason(worth, PLAIN, RATE).startswith(
        words.get(reach, f"asked only where the drafts of others are expected to bring {where}")
    )


def test_strong_drafts_alone() -> None:
    worth = asked(PLAIN / 5, *[(BAD, WEAK)] * 30, *[(GOOD, 5.0)] * 30)
    assert "expected to bring more than 3.2 tokens" in reason(worth, PLAIN, RATE)
