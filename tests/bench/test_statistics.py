"""The arithmetic of a comparison: exactly, and against slow definitions."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from foredraft.bench.statistics import Pair, geometric_mean, interval, loops, more_prompts, speedup, speedups, student


def pair(task: str, plain: float, own: float, tokens: int = 10) -> Pair:
    return Pair(task, plain, tokens, own, tokens)


def test_the_geometric_mean() -> None:
    assert geometric_mean([2.0, 8.0]) == pytest.approx(4.0, rel=1e-15)
    assert geometric_mean([3.0]) == pytest.approx(3.0, rel=1e-15)
    assert geometric_mean([0.5, 2.0]) == pytest.approx(1.0, rel=1e-15)  # what an arithmetic mean would call a gain


def test_speed_ups_are_of_totals_within_a_task_and_geometric_over_tasks() -> None:
    pairs = [pair("a", 1.0, 1.0), pair("b", 9.0, 3.0), pair("a", 9.0, 1.5)]
    assert speedups(pairs) == pytest.approx({"a": 4.0, "b": 3.0})  # the mean of a's ratios would be 3.5
    assert list(speedups(pairs)) == ["a", "b"]
    assert speedup(pairs) == pytest.approx(math.sqrt(12))


def test_texts_of_other_lengths_are_compared_by_the_token() -> None:
    assert speedup([Pair("a", 4.0, 8, 1.0, 4)]) == pytest.approx(2.0)


def test_two_prompts_of_one_task_say_next_to_nothing() -> None:
    low, high = interval([pair("a", 2.0, 1.0), pair("a", 4.0, 1.0)]) or (0, 0)
    assert low * high == pytest.approx(9.0)  # about 3, by the logarithm
    # One or the other is drawn, so the error is half of log 2, to within what 2000 draws leave to chance.
    assert math.log(high / low) == pytest.approx(2 * 12.7062 * math.log(2) / 2, rel=0.01)


@pytest.mark.parametrize(("freedom", "errors"), [(1, 12.706), (2, 4.303), (6, 2.447), (54, 2.005), (1000, 1.962)])
def test_students_distribution(freedom: int, errors: float) -> None:
    assert student(0.95, freedom) == pytest.approx(errors, abs=0.001)


def test_equal_prompts_have_an_interval_of_no_width() -> None:
    assert interval([pair("a", 3.0, 2.0)] * 5) == pytest.approx((1.5, 1.5))


def test_one_prompt_has_no_interval() -> None:
    assert interval([pair("a", 3.0, 2.0)]) is None


def test_the_interval_is_the_same_every_time_and_depends_on_the_seed() -> None:
    draw = np.random.default_rng(1)
    pairs = [pair("ab"[i % 2], *draw.uniform(1, 2, 2)) for i in range(20)]
    assert interval(pairs) == interval(pairs)
    assert interval(pairs) != interval(pairs, seed=1)


def by_definition(pairs: list[Pair], draws: int, level: float, seed: int) -> tuple[float, float]:
    """The bootstrap, one draw and one prompt after another."""
    generator = np.random.default_rng(seed)
    tasks = list(dict.fromkeys(one.task for one in pairs))
    groups = [[one for one in pairs if one.task == task] for task in tasks]
    freedom = len(pairs) - (len(groups) if min(map(len, groups)) > 1 else 1)
    if min(map(len, groups)) < 2:
        groups = [pairs]
    drawn: list[list[Pair]] = [[] for _ in range(draws)]
    for group in groups:
        counts = generator.multinomial(len(group) - 1, [1 / len(group)] * len(group), size=draws)
        for sample, row in zip(drawn, counts, strict=True):
            sample += [one for one, count in zip(group, row, strict=True) for _ in range(count)]
    half = student(level, freedom) * np.std([math.log(speedup(sample)) for sample in drawn])
    return speedup(pairs) * math.exp(-half), speedup(pairs) * math.exp(half)


PAIRS = st.lists(
    st.builds(
        Pair,
        st.sampled_from("abc"),
        st.floats(0.01, 10),
        st.integers(1, 99),
        st.floats(0.01, 10),
        st.integers(1, 99),
    ),
    min_size=2,
    max_size=9,
)


@given(pairs=PAIRS, seed=st.integers(0, 99))
def test_the_interval_is_the_bootstrap_by_its_definition(pairs: list[Pair], seed: int) -> None:
    assert interval(pairs, draws=60, seed=seed) == pytest.approx(by_definition(pairs, 60, 0.95, seed), rel=1e-9)


def test_the_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    """20 prompts of one task, whose speed-up is 1.5 over all prompts; 200 experiments, each with a fixed seed.

    Nominal coverage is 190; the percentile bootstrap of a ratio of 20 falls a little short. Below 170 or with every
    experiment covered the interval would be wrong (each has a chance under 1e-6 if the coverage is 0.93).
    """
    covered = 0
    for experiment in range(200):
        draw = np.random.default_rng(experiment)
        pairs = [
            pair("a", 1.5 * own * noise, own) for own, noise in zip(draw.uniform(1, 2, 20), 1 + draw.normal(0, 0.2, 20))
        ]
        low, high = interval(pairs, draws=400) or (0, 0)
        covered += low <= 1.5 <= high
    assert 170 <= covered < 200


# --- loops ----------------------------------------------------------------------------------------------------------


def test_an_8_gram_three_times_in_64_tokens_loops() -> None:
    period = list(range(28))
    assert loops([*period, *period, *period[:8]])  # 28 + 28 + 8 = 64 tokens hold it three times
    assert not loops([*period, *period, *period[:7]])
    longer = [*period, 28]
    assert not loops([*longer, *longer, *longer])  # three times, but in 66 tokens
    assert loops([5] * 10)
    assert not loops([5] * 9)
    assert not loops([])


def by_windows(tokens: list[int], size: int, times: int, window: int) -> bool:
    """The definition: some window of the text holds some n-gram that often."""
    for start in range(len(tokens)):
        part = tokens[start : start + window]
        grams = Counter(tuple(part[at : at + size]) for at in range(len(part) - size + 1))
        if any(count >= times for count in grams.values()):
            return True
    return False


@given(
    tokens=st.lists(st.integers(0, 2), max_size=60),
    size=st.integers(1, 4),
    times=st.integers(2, 4),
    window=st.integers(1, 20),
)
def test_loops_are_found_where_the_definition_finds_them(tokens: list[int], size: int, times: int, window: int) -> None:
    assert loops(tokens, size, times, window) == by_windows(tokens, size, times, window)


def test_four_times_as_many_prompts_halve_an_interval() -> None:
    assert more_prompts(10, 0.10, 0.05) == 30
    assert more_prompts(10, 0.05, 0.05) == 0
    assert more_prompts(10, 0.01, 0.05) == 0
    assert more_prompts(10, 0.051, 0.05) == 1
