"""The bound of a pass and the best lengths, on curves whose answer is known."""

from __future__ import annotations

import pytest

from foredraft.bench.roofline import Roofline, best_length, factors
from foredraft.engine.measure import Cost, Curve, Timing


def cost(points: dict[int, float], weight_bytes: int = 4_000_000, read_gb_s: float = 1.0) -> Cost:
    """Reading takes 4 ms unless said otherwise."""
    timings = tuple(Timing(rows, "chain", seconds) for rows, seconds in points.items())
    return Cost(Curve(256, timings), weight_bytes, (read_gb_s,))


def test_the_knee_is_where_arithmetic_takes_as_long_as_reading() -> None:
    roof = Roofline(cost({1: 0.004, 8: 0.008, 16: 0.016}), row=0.001, wide=128, weights=2_000_000)
    assert roof.knee == pytest.approx(4.0)
    assert roof.gmac_s == pytest.approx(2.0)
    assert [roof.predicted(rows) for rows in (1, 4, 8)] == pytest.approx([0.004, 0.004, 0.008])
    assert roof.measured_knee == pytest.approx(4.0)


@pytest.mark.parametrize(
    ("points", "knee"),
    [
        ({1: 0.005, 8: 0.009, 16: 0.017}, 4.0),
        ({1: 0.002, 8: 0.008, 16: 0.016}, 4.0),  # held against reading, which a lucky cache may beat
        ({1: 0.010, 2: 0.020, 4: 0.040}, 1.0),  # every row costs: it bends at once
        ({1: 0.004, 8: 0.004, 16: 0.0041}, None),  # flat so far
        ({1: 0.004, 16: 0.016}, None),  # no saying where it bends
    ],
)
def test_the_measured_knee(points: dict[int, float], knee: float | None) -> None:
    assert Roofline(cost(points), 0.001, 128, 1).measured_knee == (knee if knee is None else pytest.approx(knee))


# Cost of a draft, acceptance, best length of at most 15, speed-up there, passes flat: from the formula, by hand.
FLAT = [(0.0, 0.5, 15, 2.00), (0.02, 0.8, 11, 3.82), (0.05, 0.6, 4, 1.92), (0.1, 0.7, 4, 1.98), (0.2, 0.9, 7, 2.37)]


@pytest.mark.parametrize(("drafting", "acceptance", "length", "speedup"), FLAT)
def test_the_best_length_where_passes_are_flat(drafting: float, acceptance: float, length: int, speedup: float) -> None:
    best = best_length(acceptance, drafting, (0.0, *[1.0] * 16))
    assert best.length == length
    assert best.speedup == pytest.approx(speedup, abs=0.005)


def test_the_best_length_where_rows_cost() -> None:
    passes = (0.0, 1.0, 1.0, 1.5, 2.0)
    assert best_length(0.5, 0.0, passes).length == 1
    assert best_length(0.5, 0.0, passes).speedup == pytest.approx(1.5)
    assert best_length(0.9, 0.0, passes).length == 1  # 1.9 at 1 row more; 2.71 / 1.5 and 3.439 / 2 are less
    assert best_length(0.1, 0.5, passes) == best_length(0.0, 0.0, passes[:2] + (1.2,)).__class__(0.1, 0, 1.0, 1.0)


def test_factors_lie_on_straight_lines() -> None:
    assert factors(cost({1: 0.004, 3: 0.008}), 3) == pytest.approx((0.0, 1.0, 1.5, 2.0, 2.5))
