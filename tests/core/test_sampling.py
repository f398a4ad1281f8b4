"""The arithmetic that laws and draws are made of, and the choice between its twins."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from decimal import Decimal, localcontext
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cases import VARIANTS, make_world
from foredraft.core import sampling
from foredraft.core.native import twins
from foredraft.core.protocols import Request
from foredraft.core.stream import KeyedStream
from foredraft.draft.lookup import Lookup, Options
from foredraft.policy.constant import Constant
from foredraft.testing.exact import said
from foredraft.verify.match import Match

ULP = Decimal(2) ** -52


def worst(found: np.ndarray, exact: list[Decimal]) -> float:
    """The largest relative error, in units of 2^-52."""
    pairs = zip(found, exact, strict=True)
    return max(float(abs(Decimal(float(one)) / other - 1) / ULP) if other else float(one) for one, other in pairs)


def test_exp_is_within_an_ulp() -> None:
    x = -np.concatenate([np.arange(0, 708, 0.731), np.random.default_rng(0).exponential(size=500), [1e-17, 708.0]])
    with localcontext(prec=50):
        assert worst(sampling.exp(x), [Decimal(float(one)).exp() for one in x]) < 1


def test_log_is_within_an_ulp_also_of_the_uniforms_next_to_1() -> None:
    generator = np.random.default_rng(1)
    near = 1 - 2.0 ** -np.arange(2, 54)
    x = np.concatenate([generator.random(500), near, 1 + generator.random(200), 2.0 ** -np.arange(0, 1075, 7), [1e300]])
    with localcontext(prec=50):
        assert worst(sampling.log(x), [Decimal(float(one)).ln() for one in x]) < 1


def test_exp_ends_where_weights_would_be_subnormal() -> None:
    found = sampling.exp(np.array([0.0, -0.0, -708.0, np.nextafter(-708, -709), -1e308, -np.inf]))
    assert list(found[:2]) == [1.0, 1.0]
    assert found[2] > np.finfo(np.float64).tiny
    assert list(found[3:]) == [0.0, 0.0, 0.0]


@given(st.lists(st.floats(0, 1e6), max_size=200))
def test_total_is_the_sum(values: list[float]) -> None:
    assert sampling.total(np.array(values)) == pytest.approx(math.fsum(values), rel=1e-14)


def test_the_order_of_total() -> None:
    """Lanes of eight, then halves: what the native twin adds in the same order."""
    values = np.random.default_rng(2).random(29)
    lanes = [0.0] * 8
    for index, value in enumerate(values):
        lanes[index % 8] += float(value)
    a, b, c, d, e, f, g, h = lanes
    assert sampling.total(values) == ((a + e) + (c + g)) + ((b + f) + (d + h))


def test_top_is_best_first_with_the_lower_id_among_equals() -> None:
    assert list(sampling.top(np.array([1.0, 3, 2, 3, -np.inf]), 4)) == [1, 3, 2, 0]
    assert list(sampling.top(np.array([np.inf, 3, np.nan, np.nan]), 3)) == [2, 3, 0]
    assert list(sampling.top(np.array([1.0, 2.0]), 5)) == [1, 0]


def test_log_softmax_of_what_is_no_row() -> None:
    for logits in ([np.nan, 1.0], [np.inf, 1.0], [-np.inf, -np.inf]):
        assert np.isnan(sampling.log_softmax(np.array(logits))).all()


# --- the choice -------------------------------------------------------------------------------------------------------


def test_numpy_takes_over_where_it_is_asked_for_or_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    assert twins("0") is sampling
    monkeypatch.setitem(sys.modules, "foredraft._native", None)  # not built
    assert twins(None) is sampling
    assert twins("1") is sampling


def test_the_native_twins_are_chosen_where_they_were_built() -> None:
    built = pytest.importorskip("foredraft._native")
    assert twins(None) is twins("1") is built
    for name in ("argmax", "top", "log_softmax", "warp", "rank"):
        assert callable(getattr(built, name))
        assert callable(getattr(sampling, name))


@pytest.mark.parametrize("value", ["0", "1"])
def test_the_environment_chooses(value: str) -> None:
    code = "from foredraft.core.native import TWINS; print(TWINS.__name__)"
    environment = {**os.environ, "FOREDRAFT_NATIVE": value}
    run = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=60)
    assert run.stdout.strip() == twins(value).__name__, run.stderr  # type: ignore[attr-defined]


def texts() -> dict[str, list[tuple[int, ...]]]:
    """What is said under every rule, for a few seeds."""
    found = {}
    for variant in VARIANTS:
        world = make_world("unlike", variant, vocab_size=7, max_tokens=9, stops=1, seed=3)
        requests = [Request(world.request.prompt, seed, rules=world.request.rules) for seed in range(8)]
        found[variant] = [
            said(world.target, Lookup(Options()), Match(), Constant(4), request, world.stop, KeyedStream(request.seed))
            for request in requests
        ]
    return found


def test_both_twins_say_the_same_texts() -> None:
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    runs = [
        subprocess.run(
            [sys.executable, __file__],
            env={**environment, "FOREDRAFT_NATIVE": value},
            capture_output=True,
            text=True,
            timeout=120,
        )
        for value in ("0", "1")
    ]
    assert runs[0].stdout == runs[1].stdout == f"{texts()}\n", runs[0].stderr + runs[1].stderr


if __name__ == "__main__":
    print(texts())
