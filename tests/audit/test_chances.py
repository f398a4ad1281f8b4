"""Limits of chance: they hold for draws from the law itself, and not for draws from another."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest

from foredraft.audit.chances import chi_square, distance_limit
from foredraft.testing.exact import distance

LAWS = {"even": [0.25] * 4, "peaked": [0.97, 0.01, 0.01, 0.01], "long": [1 / 60] * 60}


@pytest.mark.parametrize("name", LAWS)
@pytest.mark.parametrize("count", [20, 400])
def test_the_limit_of_a_distance_holds_for_the_law_itself(name: str, count: int) -> None:
    """At a rate of 0.01 some of 2,000 would pass it if it were tight; the bound is not, and none may pass it often."""
    law = dict(enumerate(LAWS[name]))
    draw = np.random.default_rng(7)
    limit = distance_limit(count, law, 0.01)
    beyond = 0
    for seen in draw.multinomial(count, LAWS[name], size=2000):
        beyond += distance(dict(enumerate(seen / count)), law) > limit
    assert beyond <= 20
    assert limit == pytest.approx(
        sum(math.sqrt(p * (1 - p) / count) for p in law.values()) / 2 + math.sqrt(math.log(100) / (2 * count))
    )


def test_draws_from_another_law_are_beyond_it() -> None:
    law, other = dict(enumerate(LAWS["even"])), [0.4, 0.3, 0.2, 0.1]
    seen = Counter(np.random.default_rng(3).choice(4, size=3000, p=other).tolist())
    shares = {token: number / 3000 for token, number in seen.items()}
    assert distance(shares, law) > distance_limit(3000, law, 1e-6)
    assert chi_square(seen, law) < 1e-6


def test_outcomes_too_rare_for_a_cell_of_their_own_are_counted_with_another() -> None:
    """So the cells have all counts between them, as their number of degrees supposes."""
    law = {"often": 0.6, "less": 0.399, "rare": 0.001}
    assert chi_square({"often": 60, "less": 39, "rare": 1}, law) == pytest.approx(
        chi_square({"often": 60, "less": 40}, {"often": 0.6, "less": 0.4})
    )
    assert chi_square({"often": 50, "less": 0, "rare": 50}, law) < 1  # merged with `less`
    assert chi_square({"often": 99, "rare": 1}, {"often": 0.999, "rare": 0.001}) == 1.0  # one cell shows nothing
