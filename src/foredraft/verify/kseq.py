"""K-sequential selection (SpecTr, Sun et al. 2310.15141): siblings drawn alike share one milder test.

k siblings drawn independently from q are tried in turn, each accepted with probability min(1, p / (rho q)). With

    b(rho) = sum of min(q, p / rho)        the chance that one of them passes
    P(rho) = 1 - (1 - b)^k                 that one of k does

the smallest rho in [1, k] with P <= rho b accepts the most. Where none passes, what is left of p is proportional to
p - min(q, p / rho) P / b, which is nowhere negative for any rho from there on. Siblings that were not drawn alike are
runs of one, for which rho = 1 and the test is that of `recursive`.

That siblings carry one and the same law is taken to mean that they were drawn independently, whatever came of the
first: so it is where a drafter does as `replacement` asks.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from foredraft.core.law import Law, Probs, beside, remainder, residual
from foredraft.core.protocols import Draw, Laws, Verdict
from foredraft.core.stream import Purpose, Stream
from foredraft.core.tree import ROOT, DraftTree

# Of the interval in which rho lies: down to float64's rounding.
HALVINGS = 52
# More than are ever needed: rho that has not come to rest by then is within rounding of where it would.
STEPS = 60


class KSeq:
    """Tests siblings that were drawn independently from one law against that law times rho."""

    draw: Draw = "sampled"
    replacement = True
    needs_laws = True
    lossless = True

    def __call__(self, tree: DraftTree, laws: Laws, stream: Stream) -> Verdict:
        node, path = ROOT, list[int]()
        while True:
            here, p = stream.ahead(len(path)), laws(node)
            for lane, run in _runs(tree, node):
                selection = Selection.of(p, tree.law(run[0]), len(run))
                passing = (at for at, child in enumerate(run) if selection.passes(here, tree.tokens[child], lane + at))
                if (at := next(passing, None)) is not None:
                    path.append(run[at])
                    node = run[at]
                    break
                p = selection.left()
            else:
                return Verdict(tuple(path), here.draw(p, Purpose.CORRECTION))


@dataclass(frozen=True)
class Selection:
    """One of k candidates drawn independently from q, or none."""

    p: Law
    q: Law
    k: int
    rho: float

    @staticmethod
    def of(p: Law, q: Law, k: int) -> Selection:
        if k == 1:
            return Selection(p, q, k, 1.0)
        _, own, other = beside(p, q)
        return Selection(p, q, k, best_rho(own, other, k))

    def passes(self, here: Stream, token: int, lane: int) -> bool:
        return here.flip(self.p.prob(token), self.rho * self.q.prob(token), lane)

    def left(self) -> Law:
        """What is left of p after all k failed."""
        if self.k == 1:
            return residual(self.p, self.q)
        ids, own, other = beside(self.p, self.q)
        both = np.minimum(other, own / self.rho)
        one = float(both.sum())
        return remainder(self.p, ids, own - both * (_any(one, self.k) / one))[1] if one > 0 else self.p


def _runs(tree: DraftTree, node: int) -> list[tuple[int, list[int]]]:
    """The children of a node in runs that carry one law, each with the number of the first among all siblings."""
    runs: list[tuple[int, list[int]]] = []
    for at, child in enumerate(tree.children(node)):
        if runs and tree.law(runs[-1][1][0]) == tree.law(child):  # one object, or equal points
            runs[-1][1].append(child)
        else:
            runs.append((at, [child]))
    return runs


def _any(one: float, k: int) -> float:
    """That one of k passes, where each does with chance `one`."""
    return 1.0 - max(0.0, 1.0 - one) ** k


def best_rho(p: Probs, q: Probs, k: int) -> float:
    """The least rho in [1, k] with 1 - (1 - b)^k <= rho b, but for rounding.

    p, q: probabilities of the same tokens. Of a token with p / q >= rho all of q counts in b, of others p / rho. With
    tokens sorted out for a smaller rho, b comes out too large and the rho it asks for too small: so rho grows until it
    stands, in a handful of steps (it is Newton's method).
    """
    rho = 1.0
    for _ in range(STEPS):
        fully = p >= rho * q  # sums of products, for of such short vectors BLAS makes work for all processors
        better = _between(rho, float(k), float((fully * q).sum()), float((~fully * p).sum()), k)
        if better <= rho:
            break
        rho = better
    return rho


def _between(low: float, high: float, full: float, part: float, k: int) -> float:
    """The least rho between `low` and `high` that is enough for b = full + part / rho; `low` where that is."""
    if _enough(full, part, low, k):
        return low
    for _ in range(HALVINGS):
        rho = (low + high) / 2
        low, high = (low, rho) if _enough(full, part, rho, k) else (rho, high)
    return high


def _enough(full: float, part: float, rho: float, k: int) -> bool:
    one = full + part / rho
    return _any(one, k) <= rho * one
