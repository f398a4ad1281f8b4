"""Sources that do not pay are left alone, and tried again ever more rarely."""

from __future__ import annotations

import pytest

from foredraft.policy.worth import (
    HOPE,
    LEAST,
    PATIENCE,
    PRIOR,
    SPILL,
    TOLD,
    TRIALS,
    TRYING,
    WAIT,
    Brought,
    Gains,
    Worth,
)

PLAIN = 1.0
RATE = 1.0


def wanted(worth: Worth, strength: float = 0.0) -> bool:
    return bool(worth.wanted(worth.gains, strength, RATE, PLAIN))


def net_of(net: float) -> Brought:
    """Just what was expected came, in a second, in which a token comes otherwise."""
    return Brought(net + 1.0, net + 1.0, 1.0)


def earn(worth: Worth, net: float, strength: float = 0.0, times: int = 1) -> None:
    for _ in range(times):
        worth.earned(worth.gains, strength, net_of(net), RATE)


def rounds_until_asked(worth: Worth, strength: float = 0.0) -> int:
    return next(count for count in range(1, 10_000) if wanted(worth, strength))


def test_a_new_source_is_tried_a_few_times() -> None:
    worth = Worth(seconds=0.3)
    for _ in range(TRIALS):
        assert wanted(worth)
        worth.earned(worth.gains, 0.0, Brought(0.0, 0.0, 0.3), RATE)
    for _ in range(TRIALS):
        worth.earned(worth.gains, 0.0, Brought(0.0, 0.0, 0.3), RATE)
    assert not wanted(worth)


def test_a_new_source_that_takes_more_than_is_hoped_of_it_is_judged_at_once() -> None:
    """A draft model's first draft takes a pass: one that adds little is not asked four times more, a good one is."""
    bad, good = Worth(seconds=1.0), Worth(seconds=1.0)
    assert wanted(bad)
    earn(bad, -0.4)
    assert not wanted(bad)
    earn(good, 0.4)
    assert wanted(good)


def test_a_new_source_is_tried_where_the_others_have_found_nothing() -> None:
    """Where they always find something it is tried there in the end."""
    worth = Worth(seconds=1.0)
    assert not wanted(worth, 5.0)
    assert wanted(worth, 0.0)
    assert rounds_until_asked(Worth(seconds=1.0), 5.0) == WAIT + 1


def test_one_that_pays_is_asked_always() -> None:
    worth = Worth(seconds=1.0)
    for _ in range(50):
        assert wanted(worth)
        earn(worth, 0.4)


def test_patience_doubles_while_it_does_not_pay_and_is_short_again_once_it_does() -> None:
    worth = Worth(seconds=1.0)
    earn(worth, -0.5, times=TRIALS)
    worth.waits[0].patience = PATIENCE
    waits = []
    for _ in range(3):
        earn(worth, -0.5)
        waits.append(rounds_until_asked(worth))
    assert waits == [2 * PATIENCE + 1, 4 * PATIENCE + 1, 8 * PATIENCE + 1]
    earn(worth, 50.0)
    assert (rounds_until_asked(worth), worth.waits[0].patience) == (1, PATIENCE)


@pytest.mark.parametrize("loss", [0.05, 0.1, 0.5])
def test_trying_loses_a_small_share_of_the_tokens(loss: float) -> None:
    """One that nearly pays is tried often, however long it has not paid; one that loses much rarely."""
    worth = Worth(seconds=1.0)
    earn(worth, -loss, times=200)
    wait = rounds_until_asked(worth)
    assert loss / wait == pytest.approx(TRYING, rel=0.25)


def test_it_is_judged_apart_by_what_the_others_draft() -> None:
    worth = Worth(seconds=1.0)
    earn(worth, -1.0, strength=5.0, times=TRIALS)
    earn(worth, 1.0, times=TRIALS)
    assert wanted(worth)
    assert not wanted(worth, 5.0)


def test_beside_strong_others_it_is_not_tried_where_it_is_in_vain_beside_weak_ones() -> None:
    worth, good = Worth(seconds=1.0), Worth(seconds=1.0)
    earn(worth, -0.5, times=TRIALS)
    earn(good, 3.0, times=TRIALS)
    assert not wanted(worth, 1.0)
    assert wanted(good, 1.0)
    assert 0 < good.gains.net(2, RATE) < good.gains.net(1, RATE) < good.gains.net(0, RATE)


def test_a_new_source_is_hoped_to_add_something_and_beside_strong_others_less() -> None:
    """What was seen takes the place of the hope, a hundred rounds nearly all of it; at its least it stays above 0."""
    gains = Gains()
    assert gains.tokens(2, RATE) == pytest.approx([HOPE, HOPE * SPILL, HOPE * SPILL**2])
    for _ in range(100):
        gains.add(0, Brought(0.0, 0.0, 0.4))
    assert gains.tokens(2, RATE) == pytest.approx([HOPE * PRIOR / (100 + PRIOR), LEAST, LEAST], rel=0.1)


def test_where_it_pays_beside_weak_drafts_it_is_not_asked_the_sooner_beside_strong_ones() -> None:
    """Once in a hundred rounds of those where it loses half a token, however often it is asked in others."""
    worth = Worth(seconds=1.0)
    earn(worth, 2.0, times=60)
    earn(worth, -0.5, strength=5.0, times=60)
    asked = 0
    for _ in range(200):
        assert wanted(worth)
        earn(worth, 2.0)
        for _ in range(5):
            if wanted(worth, 5.0):
                earn(worth, -0.5, strength=5.0)
                asked += 1
    assert asked == pytest.approx(1000 * TRYING / 0.5, abs=2)


def test_a_lucky_request_does_not_make_it_precious_beside_strong_drafts() -> None:
    tenant = Gains()
    for _ in range(60):
        tenant.add(0, Brought(0.0, 0.0, 0.5))
    for _ in range(30):
        tenant.add(1, Brought(0.3, 0.3, 0.5))
    own = Gains(tenant)
    for _ in range(2):
        own.add(0, Brought(1.5, 1.5, 0.5))
    before, now = tenant.tokens(1, RATE), own.tokens(1, RATE)
    assert now[1] == pytest.approx(before[1] + SPILL * (now[0] - before[0]))
    assert now[1] < 1.0


def test_a_request_starts_from_what_its_tenant_has_seen_and_soon_knows_better() -> None:
    tenant = Gains()
    for _ in range(100):
        tenant.add(0, net_of(-0.2))
    own = Gains(tenant)
    assert own.net(0, RATE) == pytest.approx(-0.2, rel=0.2)
    for _ in range(3):
        own.add(0, net_of(1.0))
    assert own.net(0, RATE) > 0
    assert tenant.net(0, RATE) < 0
    assert Gains(tenant).net(0, RATE) < 0


def test_seconds_of_a_round_and_of_a_step() -> None:
    worth = Worth()
    worth.spent(0.4, 4)
    assert (worth.seconds, worth.step) == (0.4, pytest.approx(0.1))
    for _ in range(200):
        worth.spent(0.2, 1)
    assert (worth.seconds, worth.step) == (pytest.approx(0.2, rel=0.01), pytest.approx(0.2, rel=0.01))


def test_what_it_takes_anyway_is_not_the_price_of_asking() -> None:
    worth = Worth()
    for _ in range(400):
        worth.rested(0.3)
    assert worth.spent(0.5, 2) == pytest.approx(0.2)
    assert worth.seconds == pytest.approx(0.2)


def test_one_that_does_not_pay_catches_up_to_be_tried_as_rarely_as_that_is_dear() -> None:
    worth = Worth(seconds=0.1)
    earn(worth, -0.1, times=TRIALS)
    assert not any(worth.wanted(worth.gains, 0.0, RATE, PLAIN, joining=2.0) for _ in range(int(2.0 / TRYING)))
    assert worth.wanted(worth.gains, 0.0, RATE, PLAIN, joining=2.0)


def test_a_source_that_looked_dear_while_every_second_did_is_not_dear_for_ever() -> None:
    """A text begins with luck, its rate is twice what it will be: what was asked then is judged at the rate of now."""
    worth = Worth(seconds=0.5)
    for _ in range(10):
        worth.earned(worth.gains, 0.0, Brought(0.8, 0.8, 0.5), rate=2.0)
    assert not worth.wanted(worth.gains, 0.0, 2.0, PLAIN)
    assert worth.wanted(worth.gains, 0.0, 1.0, PLAIN)


def test_a_burden_takes_time_at_rest_and_does_not_make_up_for_it() -> None:
    worth = Worth()
    for _ in range(TOLD - 1):
        worth.rested(0.05)
    assert not worth.burden(0.02, RATE)  # too early to tell
    worth.rested(0.05)
    assert worth.burden(0.02, RATE)
    assert not worth.burden(0.1, RATE)
    for _ in range(TOLD):
        worth.earned(worth.gains, 0.0, net_of(0.5), RATE)
    assert not worth.burden(0.02, RATE)


def test_rounds_in_which_nobody_was_judged_are_waited_for_all_the_same() -> None:
    one, other = Worth(), Worth()
    for worth in (one, other):
        for _ in range(TRIALS):
            worth.earned(worth.gains, 0.0, Brought(0.0, 0.0, 1.0), RATE)
    for _ in range(12):
        one.wanted(one.gains, 0.0, RATE, PLAIN)
    for _ in range(2):
        other.wanted(other.gains, 0.0, RATE, PLAIN, rounds=6)
    assert one.idle == other.idle == 12
    assert one.waits[0].idle == other.waits[0].idle == 12


def test_an_account_that_stands_for_rounds_weighs_no_more_for_it() -> None:
    """What comes of one round scatters, and a balance lets a source go for the rest of a text."""
    one, other = Worth(), Worth()
    for worth, rounds in ((one, 1), (other, 6)):
        for came in (0.0, 3.0, 0.0, 0.0):
            worth.earned(worth.gains, 0.0, Brought(1.0, came, 1.0), RATE, rounds=rounds)
    assert one.brought == other.brought
    assert (one.told, other.told) == (4, 24)
