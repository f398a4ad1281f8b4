"""The curve learns what passes take, from passes."""

from __future__ import annotations

import numpy as np
import pytest

from foredraft.core.protocols import Costs
from foredraft.policy.curve import Curve

FLAT = Costs((1, 4, 8, 16), (1.0, 1.05, 1.1, 1.2))


def test_before_any_pass_it_is_what_was_measured() -> None:
    curve = Curve(FLAT, 16)
    assert [curve(rows) for rows in (1, 4, 8, 16)] == pytest.approx([1.0, 1.05, 1.1, 1.2])


def test_rows_beyond_its_end_cost_what_the_last_of_it_do() -> None:
    """Were they free, many sequences would draft without end."""
    curve = Curve(FLAT, 16)
    assert [curve(rows) for rows in (17, 24, 96)] == pytest.approx([1.2125, 1.3, 2.2])


def test_a_slower_machine_is_noticed_within_some_passes() -> None:
    curve = Curve(FLAT, 16)
    for _ in range(80):
        curve.add(4, 2.1)
    assert curve(4) == pytest.approx(2.1, rel=0.05)
    assert curve(1) == pytest.approx(2.0, rel=0.2)


def test_a_curve_that_was_measured_too_flat_is_bent() -> None:
    """Measured in a noisy minute as nearly flat; in truth four rows cost half as much again as one."""
    draw, truth = np.random.default_rng(0), {1: 1.0, 2: 1.2, 4: 1.5, 8: 2.5}
    curve = Curve(FLAT, 16)
    for _ in range(600):
        rows = int(draw.choice(list(truth)))
        curve.add(rows, truth[rows] * float(draw.lognormal(0, 0.1)))
    for rows, seconds in truth.items():
        assert curve(rows) / curve(1) == pytest.approx(seconds, rel=0.08)
    assert curve(2) <= curve(3) <= curve(4) <= curve(6) <= curve(8) <= curve(16)


def test_one_pass_that_hung_changes_little() -> None:
    curve = Curve(FLAT, 16)
    curve.add(1, 1000.0)
    assert curve(1) < 1.1


def test_passes_beyond_its_end_say_nothing() -> None:
    curve = Curve(FLAT, 16)
    for rows, seconds in ((17, 9.0), (0, 9.0), (4, 0.0)):
        curve.add(rows, seconds)
    assert curve(16) == pytest.approx(1.2)
