"""Statistics beyond counts: what a policy expected beside what came, for one sequence and for several of one round."""

from __future__ import annotations

import pytest

from foredraft.core.events import Step, Times
from foredraft.core.tree import DraftTree
from foredraft.engine.stats import by_source_json, forecast_json, stats

TIMES = Times(draft=0.5, verify=2.0, sample=0.25, other=0.25)


def test_nothing_is_foreseen_where_nothing_was_expected() -> None:
    found = stats([Step(0, (1,), rows=1, seconds=TIMES, wall=3.0)])
    assert found.forecast is None
    assert forecast_json(found.forecast) is None
    assert by_source_json(found) == {}


def test_the_difference_is_told_apart_by_what_was_foreseeable() -> None:
    step = Step(0, (1, 2), 1, DraftTree.chain((1,), "x"), (0,), 2, seconds=TIMES, wall=3.0, expected=(1.5, 2.0))
    forecast = stats([step]).forecast
    assert forecast is not None
    assert (forecast.tokens - forecast.expected_tokens, forecast.seconds - forecast.expected_seconds) == (0.5, 1.0)
    assert forecast.beyond == pytest.approx(0.5)  # sampling and other; the other half is drafting and the pass
    assert (forecast.expected_tok_s, forecast.tok_s) == pytest.approx((0.75, 2 / 3))


def test_a_round_of_two_counts_for_both() -> None:
    shared = Step(0, (1,), rows=1, seconds=TIMES, wall=6.0, expected=(1.0, 5.0))
    forecast = stats([shared, shared]).forecast
    assert forecast is not None
    assert (forecast.rounds, forecast.seconds, forecast.expected_seconds) == (2, 12.0, 10.0)
    assert forecast.beyond == pytest.approx(2.0)  # a sixth of the seconds on the clock
