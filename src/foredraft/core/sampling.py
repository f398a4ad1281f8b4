"""From logits to a law and from a law to a token, on plain arrays: the specification of the native twins.

Everything is written out in IEEE additions, multiplications and divisions in a stated order, exp and log and sums
included, so that the native functions of the same names (`native/src/sampling.cpp`) give the same bits, and every
machine does: libraries' own exp, log and sums differ in the last bit from one processor to the next. `core/native.py`
chooses which twin runs.
"""

from __future__ import annotations

from functools import reduce

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ids = NDArray[np.int64]
Logits = NDArray[np.floating]

# ln 2 in two parts: any exponent times the first is exact.
LN2 = float.fromhex("0x1.62e42fefa38p-1"), float.fromhex("0x1.ef35793c76730p-45")
LOG2E = float.fromhex("0x1.71547652b82fep+0")
SQRT_HALF = float.fromhex("0x1.6a09e667f3bcdp-1")
# Taylor series, constant term first: those left out stay below 1/16 of the last bit.
EXP_SERIES = tuple(1.0 / float(np.prod(np.arange(1.0, n + 1))) for n in range(14))
ATANH_SERIES = tuple(1.0 / (2 * n + 3) for n in range(10))
# exp of less is 0: no weight is subnormal.
LEAST = -708.0
# The largest 1 / temperature, so that 0 / temperature stays 0.
HOTTEST = 1e300
LANES = 8
# Philox4x64-10 (Salmon et al. 2011): of its rounds, and of the keys' steps from round to round.
MULTIPLIERS, WEYL = (0xD2E7470EE14C6C93, 0xCA5A826395121157), (0x9E3779B97F4A7C15, 0xBB67AE8584CAA73B)
WORD = 2**64 - 1


def exp(x: Floats) -> Floats:
    """e^x for x <= 0, within 1e-15 of it relatively; 0 below LEAST."""
    y = np.maximum(x, LEAST)
    k = np.rint(y * LOG2E)
    r = (y - k * LN2[0]) - k * LN2[1]
    return np.where(x < LEAST, 0.0, np.ldexp(_series(EXP_SERIES, r), k.astype(np.int32)))


def log(x: Floats) -> Floats:
    """ln x for finite x > 0, within 1e-15 of it relatively: x = m 2^k with m about 1, and m = (1 + s) / (1 - s)."""
    m, k = np.frexp(x)
    low = m < SQRT_HALF
    m, k = np.where(low, m + m, m), k - low
    f = m - 1.0
    s = f / (m + 1.0)
    z = s * s
    beyond = f - 2.0 * (z * _series(ATANH_SERIES, z))
    return np.asarray(k * LN2[0] + (f - (s * beyond - k * LN2[1])))


def _series(coefficients: tuple[float, ...], x: Floats) -> Floats:
    """Horner's rule."""
    return reduce(lambda sum_, c: sum_ * x + c, coefficients[-2::-1], np.full_like(x, coefficients[-1]))


def total(x: Floats) -> float:
    """The sum of x: element i goes to lane i mod 8, then the upper half of the lanes is added to the lower."""
    lanes = np.add.reduce(np.append(x, np.zeros(-len(x) % LANES)).reshape(-1, LANES), axis=0)
    while len(lanes) > 1:
        half = len(lanes) // 2
        lanes = lanes[:half] + lanes[half:]
    return float(lanes[0])


# --- logits ---------------------------------------------------------------------------------------------------------


def argmax(logits: Logits) -> int:
    """The lowest id among the largest logits; the first that is no number, where there is one."""
    return int(np.argmax(logits))


def top(logits: Logits, count: int) -> Ids:
    """The ids of the `count` largest, best first, lower id among equals. What is no number counts as the largest."""
    return np.lexsort((-logits, ~np.isnan(logits)))[:count].astype(np.int64)


def log_softmax(logits: Logits) -> Floats:
    """log of the softmax, in float64; no numbers at all when the largest logit is infinite or no number."""
    if not np.isfinite(logits.max()):
        return np.full(len(logits), np.nan)
    shifted = logits.astype(np.float64) - float(logits.max())
    return shifted - log(np.array(total(exp(shifted))))


def warp(logits: Logits, temperature: float, top_k: int, top_p: float, min_p: float) -> tuple[Ids | None, Floats]:
    """Temperature > 0, top-k, top-p, min-p and softmax, in this order. Ties at a border go to the lower id.

    Returns the ids that are left, ascending, None when all are, and their probabilities; none at all when the largest
    logit is infinite or no number.
    """
    size, peak = len(logits), logits.max()
    if not np.isfinite(peak):
        return np.empty(0, dtype=np.int64), np.empty(0)
    with np.errstate(over="ignore"):  # a tiny temperature sends all but the likeliest to -inf
        scaled = (logits.astype(np.float64) - float(peak)) * min(1.0 / temperature, HOTTEST)
    ids = _top_k(scaled, top_k) if 0 < top_k < size else np.arange(size)
    weights = exp(scaled[ids])
    if top_p < 1:
        inside = _nucleus(weights, top_p)
        ids, weights = ids[inside], weights[inside]
    alive = (weights > 0) & (weights >= min_p)  # the largest weight is 1
    ids, weights = ids[alive], weights[alive]
    return None if len(ids) == size else ids, weights / total(weights)


def _top_k(scaled: Floats, k: int) -> Ids:
    """Ids of the k largest, ascending; of those equal to the k-th largest the lowest ids."""
    border = np.partition(scaled, -k)[-k]
    above = np.flatnonzero(scaled > border)
    level = np.flatnonzero(scaled == border)[: k - len(above)]
    return np.sort(np.concatenate([above, level]))


def _nucleus(weights: Floats, top_p: float) -> Ids:
    """Indices, ascending, of the smallest set with mass >= top_p of the total, likeliest first, never empty."""
    order = np.argsort(-weights, kind="stable")
    mass = np.cumsum(weights[order])
    return np.sort(order[: int(np.searchsorted(mass, top_p * total(weights))) + 1])


# --- draws ----------------------------------------------------------------------------------------------------------


def uniforms(count: int, seed: int, choice: int, position: int, purpose: int, origin: int) -> Floats:
    """Uniforms of the first `count` tokens, strictly inside (0, 1): 52 bits, so that none rounds to 1.

    The last three are words of Philox's counter, as laid out in `core/stream.py`.
    """
    # A list of Python ints above 2^63 would become float64 inside numpy and lose its low bits.
    key, counter = np.array([seed, choice], np.uint64), np.array([0, position, purpose, origin], np.uint64)
    bits = np.random.Philox(key=key, counter=counter).random_raw(count)
    return np.asarray(((bits >> np.uint64(12)) + 0.5) * 2.0**-52)


def uniform(seed: int, choice: int, position: int, purpose: int, origin: int) -> float:
    """The first of `uniforms`, in a third of the time: an acceptance test needs no other."""
    a, b, c, d = 1, position, purpose, origin
    for _ in range(10):
        left, right = MULTIPLIERS[0] * a, MULTIPLIERS[1] * c
        a, b, c, d = (right >> 64) ^ b ^ seed, right & WORD, (left >> 64) ^ d ^ choice, left & WORD
        seed, choice = (seed + WEYL[0]) & WORD, (choice + WEYL[1]) & WORD
    return float(((a >> 12) + 0.5) * 2.0**-52)


def rank(
    ids: Ids | None, probs: Floats, count: int, seed: int, choice: int, position: int, purpose: int, origin: int
) -> list[int]:
    """The `count` tokens first by log p + G with the Gumbel noise of this key, best first, lower id among equals.

    ids: ascending; None stands for all. Tokens without probability are never drawn.
    """
    ids = np.flatnonzero(probs) if ids is None else ids[probs > 0]
    probs = probs[probs > 0]
    u = uniforms(int(ids[-1]) + 1 if len(ids) else 0, seed, choice, position, purpose, origin)[ids]
    order = np.argsort(-(log(probs) - log(-log(u))), kind="stable")
    return [int(token) for token in ids[order[:count]]]
