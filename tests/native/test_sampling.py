"""The native twins of `core/sampling.py`: the same bits as numpy's, for whatever they are given."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foredraft.core import sampling

native: Any = pytest.importorskip("foredraft._native")

Row = np.ndarray
QWEN = 152_064

# Around the blocks of 128 tokens and the lanes of 8 and 16 that native code works in.
SIZES = [1, 2, 3, 7, 8, 9, 15, 16, 17, 127, 128, 129, 255, 257, 1000, 4099]
TEMPERATURES = [5e-324, 1e-310, 1e-300, 1e-31, 1e-6, 0.1, 0.5, 0.7, 1.0, 1.3, 10.0, 1e6, 1e31, 1e300]
TOP_PS = [1.0, 0.0, 1e-300, 1e-9, 0.25, 0.5, 0.75, 0.9, 0.95, 0.999, 1 - 1e-12, 1 - 2**-53]
MIN_PS = [0.0, 5e-324, 1e-300, 0.05, 0.25, 0.5, 1.0]

# Kinds of rows: (generator, size) -> float64 logits.
KINDS: dict[str, Callable[[np.random.Generator, int], Row]] = {
    "normal": lambda g, n: g.normal(size=n),
    "wide": lambda g, n: g.normal(scale=10, size=n),
    "huge": lambda g, n: g.normal(scale=1e4, size=n),
    "near": lambda g, n: 5 + g.normal(scale=1e-6, size=n),
    "ties": lambda g, n: np.round(g.normal(size=n)),
    "equal": lambda g, n: np.full(n, float(g.integers(-3, 3))),
    "powers": lambda g, n: np.log(g.choice([8.0, 4.0, 2.0, 1.0, 0.5], size=n)),
    "holes": lambda g, n: np.where((g.random(n) < 0.5) & (np.arange(n) > 0), -np.inf, g.normal(size=n)),
    "one hot": lambda g, n: np.where(np.arange(n) == g.integers(n), 0.0, -np.inf),
    "peaked": lambda g, n: g.normal(scale=2.5, size=n) + np.where(g.random(n) < 0.02, 12, 0),
    "zeros": lambda g, n: g.choice([0.0, -0.0], size=n),
    "subnormal": lambda g, n: g.choice([0.0, 1.0, -1.0, 5.0], size=n) * 1e-310,
    "extreme": lambda g, n: g.choice([1e308, -1e308, 3e38, -3e38, 0.0], size=n),
}
STRANGE = {
    "none": lambda row, g: row,
    "nan": lambda row, g: _put(row, g, np.nan),
    "two nans": lambda row, g: _put(_put(row, g, np.nan), g, np.nan),
    "infinite": lambda row, g: _put(row, g, np.inf),
    "both": lambda row, g: _put(_put(row, g, np.inf), g, np.nan),
    "all gone": lambda row, g: np.full_like(row, -np.inf),
}


def _put(row: Row, generator: np.random.Generator, value: float) -> Row:
    row[generator.integers(len(row))] = value
    return row


@st.composite
def rows(draw: st.DrawFn, strange: Sequence[str] = ("none",)) -> Row:
    """Rows of every kind, as float32 and float64."""
    generator = np.random.default_rng(draw(st.integers(0, 2**32)))
    row = KINDS[draw(st.sampled_from(sorted(KINDS)))](generator, draw(st.sampled_from(SIZES)))
    dtype = draw(st.sampled_from([np.float32, np.float64]))
    row = np.maximum(row, np.where(np.isfinite(row), np.finfo(dtype).min, -np.inf))
    row = np.minimum(row, np.finfo(dtype).max)
    return STRANGE[draw(st.sampled_from(strange))](row.astype(dtype), generator)


KEYS = st.tuples(*[st.integers(0, 2**64 - 1)] * 5)


def assert_same_law(row: Row, temperature: float, top_k: int, top_p: float, min_p: float) -> None:
    ids, probs = native.warp(row, temperature, top_k, top_p, min_p)
    expected_ids, expected = sampling.warp(row, temperature, top_k, top_p, min_p)
    assert (ids is None) == (expected_ids is None)
    if expected_ids is not None:
        assert ids.dtype == np.int64
        np.testing.assert_array_equal(ids, expected_ids)
    assert probs.dtype == np.float64
    np.testing.assert_array_equal(probs, expected)


# --- any row ----------------------------------------------------------------------------------------------------------


@settings(max_examples=300)
@given(rows(tuple(STRANGE)))
def test_argmax(row: Row) -> None:
    assert native.argmax(row) == sampling.argmax(row)


@settings(max_examples=300)
@given(rows(tuple(STRANGE)), st.sampled_from([0, 1, 2, 5, 8, 9, 100, 5000]))
def test_top(row: Row, count: int) -> None:
    ids = native.top(row, count)
    assert ids.dtype == np.int64
    np.testing.assert_array_equal(ids, sampling.top(row, count))
    if count:
        assert ids[0] == native.argmax(row)


@settings(max_examples=300)
@given(rows(tuple(STRANGE)))
def test_log_softmax(row: Row) -> None:
    with np.errstate(over="ignore"):
        expected = sampling.log_softmax(row)
    np.testing.assert_array_equal(native.log_softmax(row), expected)


@settings(max_examples=1500)
@given(
    rows(tuple(STRANGE)),
    st.sampled_from(TEMPERATURES),
    st.sampled_from([0, 1, 2, 3, 8, 50, 128, 999, 5000]),
    st.sampled_from(TOP_PS) | st.floats(0, 1),
    st.sampled_from(MIN_PS),
)
def test_warp(row: Row, temperature: float, top_k: int, top_p: float, min_p: float) -> None:
    assert_same_law(row, temperature, top_k, top_p, min_p)


@settings(max_examples=500)
@given(rows(), st.sampled_from([0.5, 0.7, 1.0, 2.0]), st.floats(0, 1), st.integers(-3, 3), st.sampled_from([0, 40]))
def test_a_nucleus_whose_mass_is_just_or_just_not_enough(
    row: Row, temperature: float, share: float, steps: int, top_k: int
) -> None:
    """top_p is the mass of the likeliest tokens, give or take the last bits: any other sum would cut elsewhere."""
    _, probs = sampling.warp(row, temperature, top_k, 1.0, 0.0)
    mass = np.cumsum(np.sort(probs)[::-1])
    top_p = float(mass[int(share * (len(mass) - 1))])
    for _ in range(abs(steps)):
        top_p = float(np.nextafter(top_p, 2.0 if steps > 0 else 0.0))
    assert_same_law(row, temperature, top_k, min(top_p, 1 - 2**-53), 0.0)


@settings(max_examples=300)
@given(rows(), st.floats(0.05, 0.999), st.floats(-2e-4, 2e-4))
def test_a_nucleus_that_a_rough_total_cannot_tell(row: Row, share: float, off: float) -> None:
    _, probs = sampling.warp(row, 1.0, 0, 1.0, 0.0)
    mass = np.cumsum(np.sort(probs)[::-1])
    assert_same_law(row, 1.0, 0, float(np.clip(mass[int(share * (len(mass) - 1))] * (1 + off), 0, 1)), 0.0)


def test_tokens_that_the_temperature_makes_equal_are_cut_by_id() -> None:
    """Logits that differ, scaled logits that do not."""
    row = 1.0 + np.array([0, 3, 1, 2, 2, 1, 0, 3]) * 2.0**-52
    for top_k in range(1, 9):
        assert_same_law(row, 1e300, top_k, 1.0, 0.0)
        assert_same_law(row, 1e300, top_k, 0.5, 0.0)
    row = np.array([0.0, -1e-17, 0.0, -1e-18, -1e-17])  # and weights that are 1 for all of them
    for top_p in (0.2, 0.4, 0.6, 0.8):
        assert_same_law(row, 1.0, 0, top_p, 0.0)
    np.testing.assert_array_equal(native.warp(row, 1.0, 0, 0.4, 0.0)[0], [0, 1])


# --- draws ------------------------------------------------------------------------------------------------------------


@settings(max_examples=800)
@given(
    rows(),
    st.sampled_from([0.1, 0.7, 1.0, 10.0]),
    st.sampled_from(TOP_PS),
    st.sampled_from([1, 1, 2, 5, 300, 10_000]),
    KEYS,
)
def test_rank(row: Row, temperature: float, top_p: float, count: int, key: tuple[int, ...]) -> None:
    ids, probs = sampling.warp(row, temperature, 0, top_p, 0.0)
    assert native.rank(ids, probs, count, *key) == sampling.rank(ids, probs, count, *key)


@given(st.lists(st.sampled_from([0.0, 5e-324, 1e-310, 1e-30, 0.1, 0.5, 1.0]), min_size=1, max_size=40), KEYS)
def test_rank_of_what_only_looks_like_a_law(probs: list[float], key: tuple[int, ...]) -> None:
    """Zeros, subnormals, a sum that is not 1: nothing is drawn that has no probability, and nothing else differs."""
    array = np.array(probs)
    for ids in (None, np.arange(len(probs)) * 1000 + 7):
        found = native.rank(ids, array, 3, *key)
        assert found == sampling.rank(ids, array, 3, *key)
        assert len(found) == min(3, np.count_nonzero(array))


def test_draws_of_many_keys() -> None:
    """Every position of a long text, from a law of which most tokens are too unlikely to be hashed."""
    generator = np.random.default_rng(0)
    _, probs = sampling.warp(generator.normal(scale=4, size=300), 1.0, 0, 1.0, 0.0)
    drawn = [native.rank(None, probs, 1, 5, 0, position, 0, 0) for position in range(5_000)]
    assert drawn == [sampling.rank(None, probs, 1, 5, 0, position, 0, 0) for position in range(5_000)]
    assert len({token for (token,) in drawn}) > 40


@given(KEYS)
def test_uniform(key: tuple[int, ...]) -> None:
    assert native.uniform(*key) == sampling.uniform(*key) == sampling.uniforms(1, *key)[0]


def test_no_draw_from_nothing() -> None:
    assert native.rank(None, np.zeros(5), 2, 1, 2, 3, 4, 5) == []
    assert native.rank(np.empty(0, np.int64), np.empty(0), 1, 1, 2, 3, 4, 5) == []
    assert native.rank(None, np.full(4, 0.25), 0, 1, 2, 3, 4, 5) == []


# --- a large vocabulary -----------------------------------------------------------------------------------------------


def large(kind: str) -> Row:
    generator = np.random.default_rng(len(kind))
    row = KINDS[kind](generator, QWEN)
    return (row + np.where(generator.random(QWEN) < 2e-4, 9, 0)).astype(np.float32)


@pytest.mark.parametrize("kind", ["normal", "wide", "ties", "peaked", "powers", "holes", "equal"])
def test_rows_of_a_large_vocabulary(kind: str) -> None:
    row = large(kind)
    assert native.argmax(row) == sampling.argmax(row)
    np.testing.assert_array_equal(native.top(row, 20), sampling.top(row, 20))
    np.testing.assert_array_equal(native.log_softmax(row), sampling.log_softmax(row))
    settings = [
        (0.7, 0, 0.9, 0.0),
        (0.7, 0, 1.0, 0.0),
        (0.7, 50, 0.95, 0.0),
        (1.0, 2000, 1.0, 0.0),
        (1.0, 0, 0.999, 0.01),
        (1.0, 0, 1.0, 0.05),
        (3.0, 0, 0.9, 0.0),
    ]
    for setting in settings:
        assert_same_law(row, *setting)
        ids, probs = native.warp(row, *setting)
        for position in range(3):
            key = (11, 0, position, 0, 0)
            assert native.rank(ids, probs, 4, *key) == sampling.rank(ids, probs, 4, *key)


# --- how arrays are taken and given -----------------------------------------------------------------------------------


def test_rows_may_be_read_only_strided_or_of_half_precision() -> None:
    row = np.random.default_rng(1).normal(size=400).astype(np.float32)
    frozen = row.copy()
    frozen.setflags(write=False)
    half = row.astype(np.float16)
    for given_row in (frozen, np.repeat(row, 2)[::2], row[::-1], half):
        assert native.argmax(given_row) == sampling.argmax(given_row)
        np.testing.assert_array_equal(native.top(given_row, 9), sampling.top(given_row, 9))
        np.testing.assert_array_equal(native.log_softmax(given_row), sampling.log_softmax(given_row))
        assert_same_law(given_row, 0.7, 0, 0.9, 0.0)


def test_rows_are_not_written_to_and_results_are_the_callers_own() -> None:
    row = np.random.default_rng(2).normal(size=1000)
    before = row.copy()
    ids, probs = native.warp(row, 0.7, 0, 0.9, 0.0)
    again = [array.copy() for array in (ids, probs)]
    for _ in range(100):
        native.warp(row[::-1].copy(), 2.0, 0, 0.9, 0.0)
    np.testing.assert_array_equal(row, before)
    np.testing.assert_array_equal(ids, again[0])
    np.testing.assert_array_equal(probs, again[1])
    probs[:] = 0


@pytest.mark.parametrize(
    ("call", "why"),
    [
        (lambda: native.argmax(np.empty(0, np.float32)), "no logits"),
        (lambda: native.log_softmax(np.empty(0)), "no logits"),
        (lambda: native.warp(np.empty(0), 1.0, 0, 1.0, 0.0), "no logits"),
        (lambda: native.warp(np.ones(3), 0.0, 0, 1.0, 0.0), "temperature"),
        (lambda: native.warp(np.ones(3), np.nan, 0, 1.0, 0.0), "temperature"),
        (lambda: native.warp(np.ones(3), np.inf, 0, 1.0, 0.0), "temperature"),
        (lambda: native.rank(np.arange(2), np.ones(3) / 3, 1, 0, 0, 0, 0, 0), "differ in length"),
    ],
)
def test_what_makes_no_sense_is_refused(call: Callable[[], object], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        call()


@pytest.mark.parametrize("row", [np.ones((2, 3)), "text", None])
def test_what_is_no_row_is_refused(row: Any) -> None:
    with pytest.raises(TypeError):
        native.argmax(row)
    with pytest.raises(TypeError):
        native.top(np.ones(3), -1)
    with pytest.raises(TypeError):
        native.rank(None, np.ones(1), 1, -1, 0, 0, 0, 0)


def test_calls_from_many_threads() -> None:
    row = large("peaked")
    expected = sampling.warp(row, 0.7, 0, 0.9, 0.0)
    with ThreadPoolExecutor(4) as pool:
        for ids, probs in pool.map(lambda _: native.warp(row, 0.7, 0, 0.9, 0.0), range(40)):
            np.testing.assert_array_equal(ids, expected[0])
            np.testing.assert_array_equal(probs, expected[1])


# --- every instruction set --------------------------------------------------------------------------------------------


def digest() -> str:
    """What the native functions make of rows of every kind, in short."""
    found = hashlib.sha256()
    for seed, make in enumerate(KINDS.values()):
        for size in SIZES:
            row = make(np.random.default_rng(seed), size)
            with np.errstate(over="ignore"):
                both = (row, row.astype(np.float32))
            for each in both:
                found.update(repr((native.argmax(each), native.top(each, 5).tolist())).encode())
                found.update(native.log_softmax(each).tobytes())
                for top_p in (0.6, 1.0):
                    ids, probs = native.warp(each, 0.7, 0, top_p, 0.0)
                    found.update(probs.tobytes() + (b"" if ids is None else ids.tobytes()))
    return found.hexdigest()


@pytest.mark.parametrize("isa", native.usable_isas())
def test_every_instruction_set_gives_the_same_bits(isa: str) -> None:
    run = subprocess.run(
        [sys.executable, str(Path(__file__))],
        env={**os.environ, "FOREDRAFT_ISA": isa},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert run.stdout.split() == [isa, digest()], run.stderr


if __name__ == "__main__":
    print(native.chosen_isa(), digest())
