"""The likeliest draft tree of a block: the specification of `foredraft._native.BlockTree.grow` (native/src/block.cpp).

Row s of a block is a law of the token s + 1 after the root that does not know which tokens stand between; what the one
before it makes likelier is added (`bias`). The likeliest nodes get children first, a few at a time, and only those that
are likelier than the worst that would be kept: no path is likelier than what it begins with.

Everything is written out in IEEE operations in a stated order, in single precision where it is many: both twins give
the same trees and scores, bit for bit, where they are given the same biases.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Iterator, Sequence
from functools import reduce
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from foredraft.core.rules import Logits
from foredraft.core.sampling import log, top
from foredraft.core.tree import ROOT

Floats = NDArray[np.float32]
Bias = Callable[[Sequence[int]], Logits]
Paths = tuple[list[int], list[int], list[float]]

BATCH = 4  # nodes that get children at a time, so that they share a product
SUM_BLOCK = 1024  # numbers that are added up at a time
LANES = 16
# ln 2 in two parts: the product of the first with an exponent is exact.
LN2 = np.float32(float.fromhex("0x1.62e4p-1")), np.float32(float.fromhex("0x1.7f7d1cp-20"))
LOG2E = np.float32(float.fromhex("0x1.715476p+0"))
EXP_SERIES = tuple(np.float32(1) / np.float32(math.factorial(n)) for n in range(8))
LEAST = np.float32(-87)  # e to the power of less is 0: no weight is subnormal


def best_first(logits: Logits, bias: Bias, rows: int, depth: int, least: float) -> Paths:
    """Places, parents and log path probabilities of the `rows` likeliest nodes, parents before children.

    logits: [levels, places], float32. bias: what drafted tokens add to the logits after them, [tokens, places]. depth:
    levels at most. least: the probability of a path below which it is left out.
    """
    floor = float(log(np.array(least))) if least > 0 else -math.inf
    levels = min(depth, len(logits)) if rows > 0 else 0
    places: list[int] = []
    parents: list[int] = []
    scores: list[float] = []
    depths: list[int] = []
    best, grown = list[int](), set[int]()
    batch = [ROOT] if levels else []
    while batch:
        grown.update(batch)
        before = [(0.0, 0) if node == ROOT else (scores[node], depths[node]) for node in batch]
        laws = np.stack([logits[reached] for _, reached in before])
        if batch != [ROOT]:
            laws = laws + bias([places[node] for node in batch])
        for node, (score, reached), law in zip(batch, before, laws, strict=True):
            for place, own in likeliest_of(law, rows, score):
                if own >= floor:
                    places.append(place)
                    parents.append(node)
                    scores.append(own)
                    depths.append(reached + 1)
        best = heapq.nsmallest(rows, range(len(places)), key=lambda node: (-scores[node], node))
        bound = scores[best[-1]] if len(best) == rows else -math.inf
        worth = (node for node in best if node not in grown and depths[node] < levels and scores[node] > bound)
        batch = list(islice(worth, BATCH))
    kept = sorted(best)
    index = {node: place for place, node in enumerate(kept)} | {ROOT: ROOT}
    return [places[node] for node in kept], [index[parents[node]] for node in kept], [scores[node] for node in kept]


def likeliest_of(law: Logits, count: int, before: float) -> Iterator[tuple[int, float]]:
    """The likeliest tokens, the lower place among equals, and their scores; none where logits are no numbers."""
    largest = float(law.max())
    total = sum_of_exps(law.astype(np.float32)) if math.isfinite(largest) else math.nan
    if math.isfinite(total):
        every = float(log(np.array(total)))
        for place in top(law, count).tolist():
            yield place, before + ((float(law[place]) - largest) - every)


def sum_of_exps(x: Floats) -> float:
    """The sum of e^(x - max x): by SUM_BLOCK numbers in single precision, the sums of these in double precision.

    Within a block number i goes to lane i mod LANES, then the upper half of the lanes is added to the lower.
    """
    powers = np.append(exp(x - x.max()), np.zeros(-len(x) % SUM_BLOCK, dtype=np.float32))
    lanes = np.zeros((len(powers) // SUM_BLOCK, LANES), dtype=np.float32)
    steps = powers.reshape(len(lanes), -1, LANES)
    for step in range(steps.shape[1]):
        lanes += steps[:, step]
    while lanes.shape[1] > 1:
        half = lanes.shape[1] // 2
        lanes = lanes[:, :half] + lanes[:, half:]
    return reduce(lambda sum_, block: sum_ + float(block), lanes[:, 0], 0.0)


def exp(x: Floats) -> Floats:
    """e^x for x <= 0, within 1e-6 of it relatively; 0 below LEAST."""
    y = np.maximum(x, LEAST)
    k = np.rint(y * LOG2E)
    r = (y - k * LN2[0]) - k * LN2[1]
    power = reduce(lambda sum_, c: sum_ * r + c, EXP_SERIES[-2::-1], np.full_like(r, EXP_SERIES[-1]))
    return np.where(x < LEAST, np.float32(0), np.ldexp(power, k.astype(np.int32)))
