"""Rules: hand-computed laws, the order of operations, and state that a sibling never sees."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cases import rules_after
from foredraft.core.errors import RuleError, UsageError, WeightsError
from foredraft.core.law import Dense, Law, Point
from foredraft.core.params import SamplingParams
from foredraft.core.rules import FOLD, BadWords, Penalties, Rules, rules_of, warp

VOCAB = 5
# Probabilities 0.5, 0.25, 0.125, 0.0625, 0.0625 at temperature 1: powers of two, so that sums are exact.
LOGITS = np.log(np.array([8.0, 4.0, 2.0, 1.0, 1.0]))


def make(prompt: Sequence[int] = (), bad_words: Sequence[tuple[int, ...]] = (), **options: Any) -> Rules:
    params = SamplingParams(**{"temperature": 1.0, **options})
    return rules_of(params, prompt=prompt, vocab_size=VOCAB, stop_ids=(4, 3), bad_words=bad_words)


def probs(rules: Rules, logits: np.ndarray = LOGITS) -> list[float]:
    return [round(float(prob), 12) for prob in rules.law_of(logits).dense()]


# --- single warps, by hand ------------------------------------------------------------------------------------------


def test_temperature_flattens_and_sharpens() -> None:
    assert probs(make()) == [0.5, 0.25, 0.125, 0.0625, 0.0625]
    roots = np.sqrt([8, 4, 2, 1, 1])
    assert probs(make(temperature=2.0)) == [round(root / roots.sum(), 12) for root in roots]
    assert probs(make(temperature=0.5)) == [round(square / 86, 12) for square in (64, 16, 4, 1, 1)]


def test_greedy_is_the_argmax_with_the_lowest_id_among_equals() -> None:
    assert make(temperature=0.0).law_of(LOGITS) == Point(0, VOCAB)
    assert make(temperature=0.0).law_of(np.array([1.0, 3.0, 3.0, 0.0, 3.0])) == Point(1, VOCAB)
    assert replace(make(top_k=3), temperature=0.0).law_of(LOGITS) == Point(0, VOCAB)


def test_top_k_keeps_the_likeliest_and_the_lowest_ids_among_equals() -> None:
    assert probs(make(top_k=2)) == [round(2 / 3, 12), round(1 / 3, 12), 0, 0, 0]
    assert probs(make(top_k=4)) == [round(8 / 15, 12), round(4 / 15, 12), round(2 / 15, 12), round(1 / 15, 12), 0]
    assert probs(make(top_k=2), np.zeros(5)) == [0.5, 0.5, 0, 0, 0]
    assert make(top_k=1).law_of(np.array([0.0, 2.0, 2.0, 1.0, 2.0])) == Point(1, VOCAB)
    assert probs(make(top_k=0)) == probs(make(top_k=5)) == probs(make(top_k=99)) == probs(make())


def test_top_p_keeps_the_smallest_set_with_the_mass() -> None:
    assert make(top_p=0.5).law_of(LOGITS) == Point(0, VOCAB)
    assert probs(make(top_p=0.51)) == [round(2 / 3, 12), round(1 / 3, 12), 0, 0, 0]
    assert probs(make(top_p=0.75)) == [round(2 / 3, 12), round(1 / 3, 12), 0, 0, 0]
    assert probs(make(top_p=0.76)) == [round(4 / 7, 12), round(2 / 7, 12), round(1 / 7, 12), 0, 0]
    assert make(top_p=1e-9).law_of(LOGITS) == Point(0, VOCAB)
    # Of the two equal tail tokens, the lower id makes the mass.
    assert probs(make(top_p=0.9))[3:] == [round(1 / 15, 12), 0]


def test_min_p_keeps_tokens_close_to_the_likeliest() -> None:
    assert probs(make(min_p=0.25)) == [round(4 / 7, 12), round(2 / 7, 12), round(1 / 7, 12), 0, 0]
    assert probs(make(min_p=0.26)) == [round(2 / 3, 12), round(1 / 3, 12), 0, 0, 0]
    assert make(min_p=1.0).law_of(LOGITS) == Point(0, VOCAB)
    assert probs(make(min_p=1.0), np.array([2.0, 1.0, 2.0, 0.0, 2.0])) == [round(1 / 3, 12), 0] * 2 + [round(1 / 3, 12)]


def test_bias_is_added_and_can_exclude() -> None:
    assert probs(make(logit_bias={4: math.log(8), 0: -math.inf})) == [
        0,
        round(4 / 15, 12),
        *[round(2 / 15, 12)] * 1,
    ] + [
        round(1 / 15, 12),
        round(8 / 15, 12),
    ]


def test_allowed_tokens_exclude_all_others() -> None:
    assert probs(make(allowed_token_ids=(3, 1, 1))) == [0, 0.8, 0, 0.2, 0]


def test_repetition_penalty_divides_positive_and_multiplies_negative_logits() -> None:
    logits = np.array([2.0, -2.0, 1.0, 0.0, -1.0])
    out = make(prompt=(0, 1, 0), repetition_penalty=2.0).after(3).steps[0].apply(logits)
    np.testing.assert_array_equal(out, [1.0, -4.0, 1.0, 0.0, -1.0])


def test_presence_and_frequency_count_the_output_alone() -> None:
    rules = rules_after(make(prompt=(0, 1), presence_penalty=0.5, frequency_penalty=0.25), (1, 2, 1))
    np.testing.assert_array_equal(rules.steps[0].apply(np.zeros(5)), [0, -1.0, -0.75, 0, 0])


def test_min_tokens_holds_back_the_stop_ids_until_enough_was_said() -> None:
    rules = make(min_tokens=2)
    for _ in range(2):
        assert probs(rules)[3:] == [0, 0]
        rules = rules.after(0)
    assert probs(rules) == probs(make())
    assert rules.after(1).steps == rules.steps


def test_bad_words_of_several_tokens_ban_their_last_token_after_the_others() -> None:
    rules = make(bad_words=((0,), (1, 2), (2, 1, 3)))
    assert np.isneginf(banned := rules.steps[0].apply(LOGITS)[0])
    assert banned == -np.inf
    assert _banned(rules) == {0}
    assert _banned(rules.after(1)) == {0, 2}
    assert _banned(rules.after(2)) == {0}
    assert _banned(rules_after(rules, (2, 1))) == {0, 2, 3}
    assert _banned(rules_after(rules, (4, 2, 1))) == {0, 2, 3}
    assert _banned(rules_after(rules, (2, 1, 4))) == {0}


def _banned(rules: Rules) -> set[int]:
    return {int(token) for token in np.flatnonzero(rules.law_of(LOGITS).dense() == 0)}


@given(
    st.lists(st.integers(0, 3), max_size=8), st.lists(st.lists(st.integers(0, 3), min_size=1, max_size=4), min_size=1)
)
def test_bad_words_ban_what_a_search_of_the_text_finds(said: list[int], words: list[list[int]]) -> None:
    rule = BadWords(tuple(map(tuple, words)))
    for token in said:
        rule = rule.after(token)
    found = {token for token in range(4) if any([*said, token][-len(word) :] == word for word in words)}
    assert set(np.flatnonzero(np.isneginf(rule.apply(np.zeros(4))))) == found


def test_rules_that_leave_nothing_say_so() -> None:
    with pytest.raises(RuleError, match="relax bad words"):
        make(allowed_token_ids=(3, 4), min_tokens=1).law_of(LOGITS)
    with pytest.raises(RuleError):
        make(temperature=0.0).law_of(np.full(5, -np.inf))
    for broken in (np.nan, np.inf):
        with pytest.raises(WeightsError, match="damaged"):
            make(temperature=0.7).law_of(np.array([0.0, broken, 1.0, 0.0, 0.0]))


@pytest.mark.parametrize("name", ["logit_bias", "allowed_token_ids"])
@pytest.mark.parametrize("token", [-1, VOCAB])
def test_ids_outside_the_vocabulary_are_refused_by_name(name: str, token: int) -> None:
    with pytest.raises(UsageError, match=f"{name} names a token id outside the vocabulary: use ids from 0 to 4"):
        make(**{name: {token: 1.0} if name == "logit_bias" else (token,)})


# --- the order of operations ----------------------------------------------------------------------------------------


def test_bias_comes_before_penalties() -> None:
    """A logit that bias makes negative is multiplied by the repetition penalty, not divided."""
    logits = np.array([1.0, 0.0, 0.0, 0.0, 0.0])
    law = make(prompt=(0,), logit_bias={0: -3.0}, repetition_penalty=2.0).law_of(logits)
    assert law.prob(0) / law.prob(1) == pytest.approx(math.exp(-4.0))


def test_penalties_come_before_temperature() -> None:
    law = make(temperature=2.0, presence_penalty=2.0).after(0).law_of(np.zeros(5))
    assert law.prob(0) / law.prob(1) == pytest.approx(math.exp(-1.0))


def test_temperature_comes_before_top_p() -> None:
    assert np.count_nonzero(probs(make(top_p=0.7))) == 2
    assert np.count_nonzero(probs(make(top_p=0.7, temperature=2.0))) == 3  # 0.349, 0.247, 0.175, …


def test_top_k_comes_before_top_p_and_leaves_a_law_of_its_own() -> None:
    """Of the four likeliest, 8/15 + 4/15 make 0.8; of all five, 0.5 + 0.25 would not."""
    assert np.count_nonzero(probs(make(top_k=4, top_p=0.79))) == 2
    assert np.count_nonzero(probs(make(top_p=0.79))) == 3


def test_penalties_hold_when_greedy() -> None:
    assert make(temperature=0.0, presence_penalty=2.0).after(0).law_of(LOGITS) == Point(1, VOCAB)


def slow_law(logits: Sequence[float], temperature: float, top_k: int, top_p: float, min_p: float) -> list[float]:
    """The definition, token by token, in plain Python."""
    scaled = [logit / temperature for logit in logits]
    order = sorted(range(len(scaled)), key=lambda token: (-scaled[token], token))
    if top_k:
        order = order[:top_k]
    weights = {token: math.exp(scaled[token] - scaled[order[0]]) for token in order}
    if top_p < 1:
        needed = top_p * math.fsum(weights.values())
        nucleus: list[int] = []
        while math.fsum(weights[token] for token in nucleus) < needed:
            nucleus.append(order[len(nucleus)])
        weights = {token: weights[token] for token in nucleus}
    weights = {token: weight for token, weight in weights.items() if weight >= min_p * max(weights.values())}
    total = math.fsum(weights.values())
    return [weights.get(token, 0.0) / total for token in range(len(logits))]


@given(
    st.lists(st.sampled_from([-math.inf, -3.0, -0.5, 0.0, 0.7, 0.7, 2.0, 5.25]), min_size=2, max_size=9),
    st.sampled_from([0.3, 1.0, 1.7]),
    st.integers(0, 10),
    st.sampled_from([0.05, 0.33, 0.61, 0.93, 1.0]),
    st.sampled_from([0.0, 0.013, 0.37, 1.0]),
)
def test_the_warp_is_its_definition(
    logits: list[float], temperature: float, top_k: int, top_p: float, min_p: float
) -> None:
    if max(logits) == -math.inf:
        logits[0] = 0.0
    law = warp(np.array(logits), temperature, top_k, top_p, min_p)
    assert law is not None
    np.testing.assert_allclose(law.dense(), slow_law(logits, temperature, top_k, top_p, min_p), atol=1e-14)


# --- large vocabularies ---------------------------------------------------------------------------------------------


def kept(logits: np.ndarray, **options: Any) -> list[int]:
    return [int(token) for token in make(**options).law_of(logits).support()[0]]


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("top_p", [1e-6, 0.3, 0.9, 0.999])
def test_the_nucleus_of_a_large_vocabulary_is_that_of_a_full_sort(seed: int, top_p: float) -> None:
    generator = np.random.default_rng(seed)
    logits = generator.normal(scale=[0.1, 1.0, 4.0][seed % 3], size=3000)
    if seed >= 3:
        logits = np.round(logits, 1)  # ties by the hundred, also at the border
    weights = np.exp(logits)
    order = np.argsort(-weights, kind="stable")
    count = int(np.searchsorted(np.cumsum(weights[order]), top_p * weights.sum())) + 1
    assert kept(logits, top_p=top_p) == sorted(order[:count])


def test_the_nucleus_of_equal_weights_takes_the_lowest_ids() -> None:
    assert kept(np.full(1000, 2.5), top_p=0.1) == list(range(100))


@pytest.mark.parametrize("k", [1, 2, 63, 500, 999])
def test_top_k_of_a_large_vocabulary_is_that_of_a_full_sort(k: int) -> None:
    logits = np.round(np.random.default_rng(k).normal(size=1000), 1)
    assert kept(logits, top_k=k) == sorted(np.argsort(-logits, kind="stable")[:k])


# --- immutable state ------------------------------------------------------------------------------------------------

FULL = make(
    prompt=(0, 1),
    bad_words=((1, 2), (3,)),
    repetition_penalty=1.3,
    presence_penalty=0.4,
    frequency_penalty=0.2,
    min_tokens=3,
    logit_bias={0: 0.5},
)


@given(st.lists(st.integers(0, 4), max_size=6), st.lists(st.integers(0, 4), min_size=1, max_size=6))
def test_a_sibling_changes_nothing(here: list[int], there: list[int]) -> None:
    rules = rules_after(FULL, here)
    before = rules.law_of(LOGITS).dense().copy()
    rules_after(rules, there).law_of(LOGITS)
    np.testing.assert_array_equal(rules.law_of(LOGITS).dense(), before)
    np.testing.assert_array_equal(rules_after(FULL, here).law_of(LOGITS).dense(), before)


def test_rules_never_write_to_logits() -> None:
    logits = LOGITS.copy()
    logits.flags.writeable = False
    rules_after(FULL, (1, 2, 2)).law_of(logits)


def test_rules_are_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        FULL.temperature = 0.0  # type: ignore[misc]
    with pytest.raises(dataclasses.FrozenInstanceError):
        FULL.steps[0].left = 0  # type: ignore[attr-defined]


def test_rules_without_state_stay_the_same_object() -> None:
    rules = make(top_p=0.5)
    assert rules.after(3) is rules


@pytest.mark.parametrize("length", [FOLD - 1, FOLD, FOLD + 1, 2 * FOLD, 3 * FOLD + 5])
def test_folded_counts_are_the_counts(length: int) -> None:
    said = [int(token) for token in np.random.default_rng(length).integers(0, VOCAB, size=length)]
    folded = Penalties(1.2, 0.3, 0.1, prompt=frozenset({4}), counts={})
    for token in said:
        folded = folded.after(token)
    assert len(folded.recent) < FOLD
    unfolded = Penalties(1.2, 0.3, 0.1, prompt=frozenset({4}), counts={}, recent=tuple(said))
    np.testing.assert_array_equal(folded.apply(LOGITS), unfolded.apply(LOGITS))


# --- what a pass is asked for ---------------------------------------------------------------------------------------


class Scored:
    """A scored row that notes what was asked of it."""

    vocab_size = VOCAB

    def __init__(self) -> None:
        self.asked: list[str] = []

    def logits(self, row: int) -> np.ndarray:
        self.asked.append("logits")
        return LOGITS

    def argmax(self, row: int) -> int:
        self.asked.append("argmax")
        return int(np.argmax(LOGITS))


def test_plain_greedy_asks_for_the_argmax_alone() -> None:
    scored = Scored()
    assert make(temperature=0.0, top_k=3).law(scored, 0) == Point(0, VOCAB)
    assert scored.asked == ["argmax"]
    assert make(temperature=0.0, presence_penalty=1.0).law(scored, 0) == Point(0, VOCAB)
    law: Law = make().law(scored, 0)
    assert isinstance(law, Dense)
    assert scored.asked == ["argmax", "logits", "logits"]


def test_float32_logits_are_warped_in_float64() -> None:
    law = make().law_of(LOGITS.astype(np.float32))
    assert law.dense().dtype == np.float64
    assert law.dense().sum() == pytest.approx(1, abs=1e-15)


def test_a_tiny_temperature_is_greedy_without_a_warning() -> None:
    """Logits over a tiny temperature leave float64: the likeliest token must still be a law, not a NaN."""
    assert make(temperature=1e-320).law_of(LOGITS) == Point(0, VOCAB)
    np.testing.assert_array_equal(
        make(temperature=1e-310).law_of(np.array([3.0, 3, 1, 1, 1])).dense(), [0.5, 0.5, 0, 0, 0]
    )
