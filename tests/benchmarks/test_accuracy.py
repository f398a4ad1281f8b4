"""The distance between laws: against definitions, and whole with made-up paths."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from foredraft.core.errors import UsageError
from foredraft.models.toy import NGrams, ToyModel

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))  # as when the script runs

import accuracy

LOGITS = arrays(np.float32, (3, 5), elements=st.floats(-30, 30, width=32))


def softmax(logits: np.ndarray) -> np.ndarray:
    exact = np.exp(logits.astype(np.float64))
    return exact / exact.sum(-1, keepdims=True)


@given(LOGITS, LOGITS)
def test_divergences_are_what_they_are_called(one: np.ndarray, other: np.ndarray) -> None:
    p, q = softmax(one), softmax(other)
    expected = (p * (np.log(p) - np.log(q))).sum(-1)
    np.testing.assert_allclose(accuracy.divergences(one, other), expected, rtol=1e-9, atol=1e-12)


@given(LOGITS, st.floats(-50, 50, width=32))
def test_a_law_is_no_distance_from_itself_shifted_or_not(logits: np.ndarray, shift: float) -> None:
    assert accuracy.divergences(logits, logits).tolist() == [0.0] * 3
    assert accuracy.divergences(logits, logits + np.float32(shift)).max() < 1e-4


def test_errors_of_single_positions_are_the_usual_ones() -> None:
    values = np.random.default_rng(1).normal(size=50)
    usual = values.std(ddof=1) / np.sqrt(50)
    assert accuracy.clustered_error(values, np.arange(50)) == pytest.approx(usual)


def test_positions_of_one_prompt_count_as_one() -> None:
    values = np.random.default_rng(1).normal(size=20)
    once = accuracy.clustered_error(values, np.arange(20))
    thrice = accuracy.clustered_error(np.repeat(values, 3), np.repeat(np.arange(20), 3))
    assert thrice == pytest.approx(once)
    assert accuracy.clustered_error(values, np.zeros(20, np.int64)) is None


def test_the_interval_of_a_constant_ratio_is_that_ratio() -> None:
    values = np.random.default_rng(2).exponential(size=40)
    assert accuracy.ratio_interval(0.5 * values, values, np.arange(40) // 4) == pytest.approx((0.5, 0.5))


def test_tasks_take_turns() -> None:
    assert accuracy.in_turn([("a", 1), ("a", 2), ("a", 3), ("b", 4), ("c", 5), ("c", 6)]) == [1, 4, 5, 2, 6, 3]


@given(st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=6).map(tuple), max_size=8), st.integers(1, 20))
def test_no_prefix_is_measured_twice(texts: list[tuple[int, ...]], positions: int) -> None:
    prefixes = [
        text[: at + 1] for text, first in accuracy.new_positions(texts, positions) for at in range(first, len(text))
    ]
    every = {text[: at + 1] for text in texts for at in range(len(text))}
    assert len(prefixes) == len(set(prefixes)) == min(positions, len(every))
    assert set(prefixes) <= every


def test_chunks_give_the_logits_of_one_pass() -> None:
    model = ToyModel(NGrams.fit([[1, 2, 3, 4, 0, 2, 2]], 5, order=2), context=300)
    ids = tuple(np.random.default_rng(3).integers(5, size=150).tolist())
    found = accuracy.of_model(model)(ids)
    expected = np.array([model.net.head(model.net.states(ids[: at + 1])[-1]) for at in range(150)])
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_distances_are_collected_by_prompt() -> None:
    def reference(ids: tuple[int, ...]) -> np.ndarray:
        return np.array([[float(token == other) for other in range(4)] for token in ids], np.float32)

    def swapped(ids: tuple[int, ...]) -> np.ndarray:
        logits = reference(ids)
        logits[np.array(ids) == 3] = [9, 0, 0, 0]
        return logits

    found = accuracy.distances(reference, {"same": reference, "other": swapped}, [((0, 1, 3), 1), ((3, 2), 0)])
    assert found["same"].kl.tolist() == [0.0] * 4
    assert found["other"].same_top.tolist() == [1, 0, 0, 1]
    assert found["other"].prompt.tolist() == [0, 0, 1, 1]
    assert found["other"].place.tolist() == [1, 2, 0, 1]
    assert found["other"].past_first.same_top.tolist() == [1, 0, 1]
    assert found["other"].as_json["top1"] == 0.5
    assert found["other"].as_json["raw"]["other_top1_at"] == [1, 2]
    with pytest.raises(UsageError, match="other files"):
        accuracy.distances(reference, {"short": lambda ids: reference(ids)[:, :3]}, [((0, 1), 0)])
