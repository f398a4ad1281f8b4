"""Laws: the arithmetic of verification."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from foredraft.core.law import Dense, Law, Point, Sparse, of_weights, overlap, residual, total_variation, without

SIZE = 6


@st.composite
def laws(draw: st.DrawFn) -> Law:
    """A law over six tokens of any of the three shapes, zeros and ties included."""
    weights = np.array(
        draw(st.lists(st.sampled_from([0.0, 0.0, 0.1, 0.5, 0.5, 1.0, 3.0]), min_size=SIZE, max_size=SIZE))
    )
    if not weights.any():
        weights[draw(st.integers(0, SIZE - 1))] = 1.0
    probs = weights / weights.sum()
    shape = draw(st.sampled_from(["chosen", "dense", "sparse"]))
    if shape == "dense":
        return Dense(probs)
    if shape == "sparse":
        ids = np.flatnonzero(probs)
        return Sparse(ids, probs[ids], SIZE)
    return of_weights(np.arange(SIZE), weights, SIZE)


def dense(law: Law) -> Dense:
    return Dense(law.dense())


def test_of_weights_takes_the_smallest_shape() -> None:
    assert of_weights(np.arange(3), np.array([0.0, 2.0, 0.0]), 3) == Point(1, 3)
    sparse = of_weights(np.array([0, 2]), np.array([1.0, 3.0]), 3)
    assert isinstance(sparse, Sparse)
    np.testing.assert_array_equal(sparse.dense(), [0.25, 0, 0.75])
    full = of_weights(np.arange(2), np.array([1.0, 1.0]), 2)
    assert isinstance(full, Dense)
    assert full.size == 2


@given(laws())
def test_every_shape_says_the_same(law: Law) -> None:
    probs = law.dense()
    assert probs.shape == (law.size,)
    assert probs.sum() == pytest.approx(1, abs=1e-15)
    np.testing.assert_array_equal([law.prob(token) for token in range(SIZE)], probs)
    ids, held = law.support()
    np.testing.assert_array_equal(ids, np.flatnonzero(probs))
    np.testing.assert_array_equal(held, probs[ids])
    assert law.mode() == int(np.argmax(probs))  # the lowest id among equals


@given(laws(), laws())
def test_overlap_is_one_minus_total_variation(p: Law, q: Law) -> None:
    assert overlap(p, q) == pytest.approx(1 - total_variation(p, q), abs=1e-15)
    assert overlap(p, q) == pytest.approx(overlap(q, p), abs=1e-15)
    assert overlap(p, q) == pytest.approx(overlap(dense(p), dense(q)), abs=1e-15)


@given(laws(), laws())
def test_the_residual_is_what_q_leaves_of_p(p: Law, q: Law) -> None:
    left = np.maximum(p.dense() - q.dense(), 0)
    expected = left / left.sum() if left.sum() > 1e-13 else p.dense()
    np.testing.assert_allclose(residual(p, q).dense(), expected, atol=1e-14)
    np.testing.assert_allclose(residual(dense(p), dense(q)).dense(), expected, atol=1e-14)


@given(laws(), laws())
def test_a_draft_and_its_residual_make_up_p(p: Law, q: Law) -> None:
    """Leviathan et al., appendix A.1: min(p, q) + (1 - overlap) residual = p."""
    emitted = np.minimum(p.dense(), q.dense()) + (1 - overlap(p, q)) * residual(p, q).dense()
    np.testing.assert_allclose(emitted, p.dense(), atol=1e-14)


@given(laws())
def test_nothing_is_left_of_a_law_by_itself_but_the_law(p: Law) -> None:
    np.testing.assert_array_equal(residual(p, p).dense(), p.dense())
    nudged = Dense(p.dense() * (1 + 1e-16))
    np.testing.assert_array_equal(residual(p, nudged).dense(), p.dense())


@given(laws(), st.integers(0, SIZE - 1))
def test_without_is_the_law_given_another_token(law: Law, token: int) -> None:
    rest = law.dense().copy()
    rest[token] = 0
    left = without(law, token)
    if not rest.any():
        assert left is None
    else:
        assert left is not None
        assert left.prob(token) == 0
        np.testing.assert_allclose(left.dense(), rest / rest.sum(), atol=1e-15)


def test_drawing_without_replacement_ends_when_the_support_is_exhausted() -> None:
    law: Law | None = of_weights(np.array([1, 3]), np.array([1.0, 2.0]), 5)
    assert law is not None
    law = without(law, 3)
    assert law == Point(1, 5)
    assert without(law, 1) is None
    assert without(law, 2) == Point(1, 5)


def test_of_weights_is_safe_with_tiny_and_huge_weights() -> None:
    law = of_weights(np.arange(3), np.array([1e-300, 1.0, 1e300]), 3)
    assert law.dense().sum() == pytest.approx(1)
    assert law.prob(2) == 1.0
