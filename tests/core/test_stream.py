"""Keyed randomness: what a draw depends on, what it does not, and that its law is the law.

The statistical tests have fixed seeds and a false-alarm rate of 1e-6 each (the chance that a correct stream with fresh
seeds would fail), and each has a known-bad twin that must be rejected at the same rate.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cases import chi_square, chi_square_tail
from foredraft.core import sampling
from foredraft.core.law import Law, Point, of_weights, total_variation, without
from foredraft.core.stream import KeyedStream, Purpose

FALSE_ALARM = 1e-6
MASK = 2**64 - 1


def philox(counter: tuple[int, int, int, int], key: tuple[int, int]) -> tuple[int, int, int, int]:
    """Philox4x64-10 (Salmon et al. 2011) in plain integers: the layout that native twins follow."""
    a, b, c, d = counter
    first, second = key
    for _ in range(10):
        left, right = a * 0xD2E7470EE14C6C93, c * 0xCA5A826395121157
        a, b, c, d = (right >> 64) ^ b ^ first, right & MASK, (left >> 64) ^ d ^ second, left & MASK
        first, second = (first + 0x9E3779B97F4A7C15) & MASK, (second + 0xBB67AE8584CAA73B) & MASK
    return a, b, c, d


def uniform(stream: KeyedStream, token: int, purpose: Purpose, lane: int) -> float:
    """The uniform of one token, by the layout in the module's docstring."""
    origin = 0 if purpose is Purpose.TARGET else stream.origin
    counter = (token // 4 + 1, stream.position, purpose + 256 * lane, origin + 2**32 * stream.branch)
    return ((philox(counter, (stream.seed, stream.choice))[token % 4] >> 12) + 0.5) * 2.0**-52


def law_of(*weights: float) -> Law:
    return of_weights(np.arange(len(weights)), np.array(weights, dtype=np.float64), len(weights))


SPREAD = law_of(8, 1, 0, 4, 2, 0.5, 0.25)


# --- the layout -----------------------------------------------------------------------------------------------------


def test_the_generator_is_the_published_one() -> None:
    """A known answer of Random123's distribution: all bits set."""
    assert philox((MASK,) * 4, (MASK,) * 2) == (
        0x87B092C3013FE90B,
        0x438C3C67BE8D0224,
        0x9CC7D7C69CD777B6,
        0xA09CAEBF594F0BA0,
    )


@pytest.mark.parametrize("seed", [0, 1, 2**53 + 1, 2**63 - 1])
@pytest.mark.parametrize("purpose", list(Purpose))
def test_uniforms_follow_the_documented_layout(seed: int, purpose: Purpose) -> None:
    stream = KeyedStream(seed, choice=3).at(1000).ahead(7).independent(2)
    assert list(stream._uniforms(9, purpose, 5)) == [uniform(stream, token, purpose, 5) for token in range(9)]


def test_a_single_uniform_is_the_first_of_many() -> None:
    """Which acceptance tests are made with: the same bits without numpy."""
    draw = np.random.default_rng(1)
    for _ in range(500):
        seed, choice, position, purpose, origin = (int(draw.integers(0, 2**bits)) for bits in (63, 20, 40, 50, 63))
        key = (seed, choice, position, purpose, origin)
        assert sampling.uniform(*key) == sampling.uniforms(1, *key)[0]
    stream = KeyedStream(2**63 - 1, choice=3, position=9, origin=7, branch=2**32 - 1)
    assert sampling.uniform(*stream._key(Purpose.ACCEPT, 5)) == stream._uniforms(1, Purpose.ACCEPT, 5)[0]


def test_uniforms_lie_strictly_inside_the_unit_interval() -> None:
    """The extreme outputs of the generator neither round to 0 nor to 1, and thus no noise is infinite."""
    lowest, highest = 0.5 * 2.0**-52, (2**52 - 1 + 0.5) * 2.0**-52
    assert 0 < lowest < 2.0**-52
    assert 1 - 2.0**-52 < highest < 1
    assert math.isfinite(-math.log(-math.log(lowest)))
    assert math.isfinite(-math.log(-math.log(highest)))
    drawn = KeyedStream(3)._uniforms(100_000, Purpose.TARGET, 0)
    assert drawn.min() > 0
    assert drawn.max() < 1


# --- what a draw depends on -----------------------------------------------------------------------------------------

STREAMS = st.builds(
    lambda seed, choice, position, by: KeyedStream(seed, choice).at(position).ahead(by),
    st.integers(0, 2**63 - 1),
    st.integers(0, 100),
    st.integers(0, 10_000),
    st.integers(0, 50),
)
LAWS = (
    st.lists(st.sampled_from([0.0, 0.1, 0.5, 1.0, 2.0]), min_size=2, max_size=9).filter(any).map(lambda w: law_of(*w))
)


@given(STREAMS, LAWS, st.sampled_from(list(Purpose)), st.integers(0, 300))
def test_the_same_key_draws_the_same(stream: KeyedStream, law: Law, purpose: Purpose, lane: int) -> None:
    again = KeyedStream(stream.seed, stream.choice).at(stream.origin).ahead(stream.position - stream.origin)
    assert again.draw(law, purpose, lane) == stream.draw(law, purpose, lane)
    assert again.flip(0.4, 0.9, lane) == stream.flip(0.4, 0.9, lane)


@given(STREAMS, LAWS, st.sampled_from(list(Purpose)), st.integers(1, 9))
def test_the_first_of_the_ranked_is_the_drawn(stream: KeyedStream, law: Law, purpose: Purpose, count: int) -> None:
    ranked = stream.rank(law, count, purpose)
    ids = {int(token) for token in law.support()[0]}
    assert ranked[0] == stream.draw(law, purpose)
    assert len(ranked) == len(set(ranked)) == min(count, len(ids))
    assert set(ranked) <= ids


@given(STREAMS, LAWS, st.sampled_from(list(Purpose)))
def test_noise_at_a_token_does_not_depend_on_which_others_survive(
    stream: KeyedStream, law: Law, purpose: Purpose
) -> None:
    """Taking the winner away leaves the runner-up; a law over more tokens ranks the common ones alike."""
    order = stream.rank(law, 9, purpose)
    rest = without(law, order[0])
    assert (stream.rank(rest, 9, purpose) if rest is not None else []) == order[1:]
    wider = of_weights(law.support()[0], law.support()[1], law.size + 40)
    assert stream.rank(wider, 9, purpose) == order


def test_a_point_law_is_its_token() -> None:
    assert KeyedStream(1).draw(Point(4, 9), Purpose.TARGET) == 4
    assert KeyedStream(1).rank(Point(4, 9), 3, Purpose.DRAFT) == [4]


def test_target_noise_belongs_to_the_position_and_other_noise_to_the_round() -> None:
    early, late = KeyedStream(9).at(10).ahead(5), KeyedStream(9).at(13).ahead(2)
    assert early.position == late.position == 15
    noise = {purpose: (early._uniforms(8, purpose, 0), late._uniforms(8, purpose, 0)) for purpose in Purpose}
    np.testing.assert_array_equal(*noise[Purpose.TARGET])
    for purpose in (Purpose.DRAFT, Purpose.ACCEPT, Purpose.CORRECTION):
        assert not np.isin(*noise[purpose]).any()


def test_an_independent_stream_shares_nothing_even_of_the_targets_noise() -> None:
    stream = KeyedStream(9)
    inner = stream.at(4).independent(0)
    streams = [
        stream.at(4),
        inner,
        stream.at(4).independent(1),
        stream.at(5).independent(0).at(4),
        inner.independent(0),
        inner.at(4).independent(1),
    ]
    drawn = [float(each.at(4)._uniforms(1, Purpose.TARGET, 0)[0]) for each in streams]
    assert len(set(drawn)) == len(streams)
    assert inner.at(7).at(4) == stream.at(4).independent(0)


def test_no_two_draws_share_noise() -> None:
    """Every purpose, lane, position, round, choice, branch and neighbouring seed has uniforms of its own."""
    seen: Counter[float] = Counter()
    keys: set[object] = set()
    for seed, choice, origin, by, branch in itertools.product((0, 1), (0, 1), (0, 1, 2), (0, 1, 2), (None, 0, 1, 2)):
        stream = KeyedStream(seed, choice).at(origin)
        stream = stream.independent(branch) if branch is not None else stream
        stream = stream.ahead(by)
        for purpose, lane in itertools.product(Purpose, (0, 1, 2, 255, 256, 257, 65_535)):
            key = (seed, choice, stream.position, stream.branch, purpose, lane)
            key = key if purpose is Purpose.TARGET else (*key, origin)
            if key not in keys:
                keys.add(key)
                seen.update(stream._uniforms(4, purpose, lane).tolist())
    assert len(keys) > 3000
    assert max(seen.values()) == 1


# --- flips ----------------------------------------------------------------------------------------------------------


class Extreme(KeyedStream):
    """A stream whose every uniform is the smallest or the largest there is."""

    def _uniform(self, purpose: Purpose, lane: int) -> float:
        return 0.5 * 2.0**-52 if self.seed == 0 else 1 - 2.0**-53


def test_a_flip_never_passes_the_impossible_and_always_the_certain() -> None:
    low, high = Extreme(0), Extreme(1)
    for stream in (low, high, KeyedStream(5)):
        assert not stream.flip(0.0, 0.3, 0)
        assert not stream.flip(0.0, 0.0, 0)
        assert stream.flip(0.3, 0.0, 0)
        assert stream.flip(0.3, 0.3, 0)
        assert stream.flip(0.3, 0.2, 0)
        assert stream.flip(1.0, 1.0, 0)
    assert low.flip(1e-15, 1.0, 0)
    assert not high.flip(0.999, 1.0, 0)


@pytest.mark.parametrize(("p", "q"), [(0.1, 0.4), (0.5, 0.6), (0.02, 0.9)])
def test_a_flip_passes_with_probability_p_over_q(p: float, q: float) -> None:
    flips = Counter(KeyedStream(seed).flip(p, q, lane) for seed in range(2000) for lane in range(3))
    law = {True: p / q, False: 1 - p / q}
    assert chi_square(flips, law) > FALSE_ALARM
    inverted = Counter({True: flips[False], False: flips[True]})
    if p / q != 0.5:
        assert chi_square(inverted, law) < FALSE_ALARM


# --- the law of a draw ----------------------------------------------------------------------------------------------

DRAWS = 6000


class Noisy(KeyedStream):
    """The ranking taken apart; as it stands it is right."""

    def noise(self, size: int, purpose: Purpose, lane: int) -> np.ndarray:
        return -np.log(-np.log(self._uniforms(size, purpose, lane)))

    def rank(self, law: Law, count: int, purpose: Purpose, lane: int = 0) -> list[int]:
        ids, probs = law.support()
        order = np.argsort(-(np.log(probs) + self.noise(law.size, purpose, lane)[ids]), kind="stable")
        return [int(token) for token in ids[order[:count]]]


class UniformNoise(Noisy):
    """Known bad: adds uniform instead of Gumbel noise."""

    def noise(self, size: int, purpose: Purpose, lane: int) -> np.ndarray:
        return self._uniforms(size, purpose, lane)


class CoarseNoise(Noisy):
    """Known bad: uniforms of three bits."""

    def _uniforms(self, count: int, purpose: Purpose, lane: int) -> np.ndarray:
        return (np.floor(super()._uniforms(count, purpose, lane) * 8) + 0.5) / 8


class SharedNoise(Noisy):
    """Known bad: one uniform for all tokens."""

    def _uniforms(self, count: int, purpose: Purpose, lane: int) -> np.ndarray:
        return np.repeat(super()._uniforms(1, purpose, lane), count)


@given(STREAMS, LAWS, st.sampled_from(list(Purpose)), st.integers(1, 9))
def test_a_ranking_is_log_p_plus_gumbel_noise(stream: KeyedStream, law: Law, purpose: Purpose, count: int) -> None:
    apart = Noisy(stream.seed, stream.choice, stream.position, stream.origin)
    assert stream.rank(law, count, purpose) == apart.rank(law, count, purpose)


def counts(make: Callable[[int], KeyedStream], law: Law, purpose: Purpose) -> Counter[int]:
    return Counter(make(seed).draw(law, purpose, lane=seed % 2) for seed in range(DRAWS))


def as_dict(law: Law) -> dict[int, float]:
    return {token: prob for token, prob in enumerate(law.dense()) if prob > 0}


@pytest.mark.parametrize("purpose", [Purpose.TARGET, Purpose.CORRECTION])
@pytest.mark.parametrize("law", [SPREAD, law_of(1, 1, 1), law_of(0, 0, 0, 0, 30, 1)], ids=["spread", "flat", "sharp"])
def test_tokens_are_drawn_with_their_probabilities_over_seeds(law: Law, purpose: Purpose) -> None:
    assert chi_square(counts(KeyedStream, law, purpose), as_dict(law)) > FALSE_ALARM


def test_tokens_are_drawn_with_their_probabilities_over_positions() -> None:
    """One request, one seed: the positions of a text draw independently."""
    found = Counter(KeyedStream(123).at(position).draw(SPREAD, Purpose.TARGET) for position in range(DRAWS))
    assert chi_square(found, as_dict(SPREAD)) > FALSE_ALARM
    pairs = Counter(
        (
            KeyedStream(7).at(position).draw(law_of(1, 2), Purpose.TARGET),
            KeyedStream(7).at(position + 1).draw(law_of(1, 2), Purpose.TARGET),
        )
        for position in range(0, DRAWS, 2)
    )
    thirds = (1 / 3, 2 / 3)
    assert chi_square(pairs, {(a, b): thirds[a] * thirds[b] for a in (0, 1) for b in (0, 1)}) > FALSE_ALARM


@pytest.mark.parametrize("bad", [UniformNoise, CoarseNoise, SharedNoise])
def test_wrong_noise_is_rejected(bad: Callable[[int], KeyedStream]) -> None:
    assert chi_square(counts(bad, SPREAD, Purpose.TARGET), as_dict(SPREAD)) < FALSE_ALARM


def test_ranking_draws_without_replacement() -> None:
    """The first two of the perturbed order have the law of two draws without replacement (Gumbel-top-k)."""
    law = law_of(4, 2, 1)
    pairs = Counter(tuple(KeyedStream(seed).rank(law, 2, Purpose.TARGET)) for seed in range(DRAWS))
    expected = {}
    for first, second in itertools.permutations(range(3), 2):
        left = without(law, first)
        assert left is not None
        expected[first, second] = law.prob(first) * left.prob(second)
    assert chi_square(pairs, expected) > FALSE_ALARM


@pytest.mark.parametrize("seed", range(4))
def test_coupled_drafts_agree_as_often_as_the_theory_says(seed: int) -> None:
    """2408.07978: P(agree) = sum over x of 1 / sum over y of max(p_y / p_x, q_y / q_x) >= (1 - TV) / (1 + TV)."""
    generator = np.random.default_rng(seed)
    p, q = law_of(*generator.dirichlet(np.ones(5))), law_of(*generator.dirichlet(np.ones(5)))
    agreed = sum(
        (stream := KeyedStream(draw)).draw(p, Purpose.TARGET) == stream.draw(q, Purpose.TARGET) for draw in range(4000)
    )
    ps, qs = p.dense(), q.dense()
    expected = sum(1 / np.maximum(ps / ps[token], qs / qs[token]).sum() for token in range(5))
    distance = total_variation(p, q)
    assert expected >= (1 - distance) / (1 + distance) - 1e-12
    assert chi_square({True: agreed, False: 4000 - agreed}, {True: expected, False: 1 - expected}) > FALSE_ALARM
    # The bad twin: independent draws agree far less often than the bound.
    alone = float(ps @ qs)
    assert alone < (1 - distance) / (1 + distance)
    assert chi_square({True: agreed, False: 4000 - agreed}, {True: alone, False: 1 - alone}) < FALSE_ALARM


# --- the test of the tests ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("statistic", "degrees", "tail"),
    [(3.841458820694124, 1, 0.05), (23.684791304840576, 14, 0.05), (50.892181311517092, 30, 0.01), (0.0, 3, 1.0)],
)
def test_the_chi_square_tail_matches_the_tables(statistic: float, degrees: int, tail: float) -> None:
    assert chi_square_tail(statistic, degrees) == pytest.approx(tail, rel=1e-9)


def test_chi_square_rejects_what_the_law_excludes_and_pools_rare_outcomes() -> None:
    assert chi_square({"a": 99, "c": 1}, {"a": 0.5, "b": 0.5}) == 0.0
    assert chi_square({"a": 50, "b": 50}, {"a": 0.5, "b": 0.49, "c": 0.005, "d": 0.005}) > 0.1
