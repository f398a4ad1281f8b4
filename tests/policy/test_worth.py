"""Sources that do not pay are left alone, and tried again ever more rarely."""

from __future__ import annotations

import pytest

from foredraft.policy.worth import PATIENCE, TRIALS, TRYING, Worth

PLAIN = 1.0


def rounds_until_asked(worth: Worth, strength: float = 0.0) -> int:
    return next(count for count in range(1, 10_000) if worth.wanted(strength, PLAIN))


def test_a_new_source_is_tried_a_few_times() -> None:
    worth = Worth(seconds=1.0)
    for _ in range(TRIALS):
        assert worth.wanted(0.0, PLAIN)
        worth.earned(0.0, -1.0)
    assert not worth.wanted(0.0, PLAIN)


def test_one_that_pays_is_asked_always() -> None:
    worth = Worth(seconds=1.0)
    for _ in range(50):
        assert worth.wanted(0.0, PLAIN)
        worth.earned(0.0, 0.1)


def test_patience_doubles_while_it_does_not_pay_and_is_short_again_once_it_does() -> None:
    worth = Worth(seconds=1.0)
    for _ in range(TRIALS):
        worth.earned(0.0, -0.1)
    waits = []
    for _ in range(3):
        waits.append(rounds_until_asked(worth))
        worth.earned(0.0, -0.1)
    assert waits == [2 * PATIENCE + 1, 4 * PATIENCE + 1, 8 * PATIENCE + 1]
    worth.earned(0.0, 50.0)
    assert rounds_until_asked(worth) == 1


@pytest.mark.parametrize("seconds", [0.02, 0.1, 0.5])
def test_trying_takes_a_small_share_of_the_time(seconds: float) -> None:
    """One that costs little is tried often, however long it has not paid; a dear one rarely."""
    worth = Worth(seconds=seconds)
    for _ in range(30):
        worth.earned(0.0, -0.1)
    wait = rounds_until_asked(worth)
    assert seconds / wait == pytest.approx(TRYING * PLAIN, rel=0.25)


def test_it_is_judged_apart_by_what_the_others_draft() -> None:
    worth = Worth(seconds=1.0)
    for _ in range(TRIALS):
        worth.earned(5.0, -1.0)
        worth.earned(0.0, 1.0)
    assert worth.wanted(0.0, PLAIN)
    assert not worth.wanted(5.0, PLAIN)


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
    for _ in range(TRIALS):
        worth.earned(0.0, -0.1)
    assert not any(worth.wanted(0.0, PLAIN, joining=2.0) for _ in range(int(2.0 / TRYING)))
    assert worth.wanted(0.0, PLAIN, joining=2.0)


def test_a_burden_takes_time_at_rest_and_does_not_make_up_for_it() -> None:
    worth = Worth()
    for _ in range(20):
        worth.rested(0.05, rate=1.0)
    assert worth.burden(0.02)
    assert not worth.burden(0.1)
    for _ in range(20):
        worth.earned(0.0, 0.5, rate=1.0)
    assert not worth.burden(0.02)
