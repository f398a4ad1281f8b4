"""What a reader feels, by hand: the first burst, the gaps, and rounds that show nothing."""

from __future__ import annotations

import pytest

from foredraft.bench.latency import bursts, first_bursts, gaps, latency_json
from foredraft.bench.record import Case, Trial
from foredraft.core.events import Step


def trial(walls: list[float], silent: frozenset[int] = frozenset(), opening: float = 0.5) -> Trial:
    steps = tuple(Step(place, (place,), wall=wall) for place, wall in enumerate(walls))
    return Trial(opening + sum(walls), opening, "length", (), steps, silent)


def case(name: str, own: Trial) -> Case:
    return Case(name, name, "t", 3, 2.0, ("plain",), {"plain": own})


def test_a_burst_comes_at_the_end_of_its_round() -> None:
    assert bursts(trial([1.0, 2.0, 4.0])) == [1.5, 3.5, 7.5]
    assert gaps([trial([1.0, 2.0, 4.0]), trial([9.0])]) == [2.0, 4.0]


def test_a_round_that_shows_nothing_makes_the_gap_longer() -> None:
    halting = trial([1.0, 2.0, 4.0, 8.0], frozenset({0, 2}))
    assert bursts(halting) == [3.5, 15.5]
    assert gaps([halting]) == [12.0]
    assert first_bursts([case("a", halting)], "plain") == [5.5]


def test_nothing_shown_is_no_number() -> None:
    mute = case("a", trial([1.0], frozenset({0})))
    assert latency_json([mute], "plain") == {"time_to_first_token": None, "burst_gap": None}
    found = latency_json([case("a", trial([1.0])), case("b", trial([3.0, 1.0]))], "plain")
    assert found["time_to_first_token"] == {"median": 4.5, "p95": pytest.approx(5.4)}
    assert found["burst_gap"] == {"median": 1.0, "p95": 1.0}
