"""Wrong ratio verifiers. Each differs from a right one in a line or two; `Ratio` has a hook for every such line."""

from __future__ import annotations

import numpy as np

from foredraft.core.law import Law, of_weights, residual
from foredraft.core.protocols import Draw, Laws, Verdict
from foredraft.core.rules import warp
from foredraft.core.stream import Purpose, Stream
from foredraft.core.tree import ROOT, DraftTree


class Ratio:
    """Recursive rejection, taken apart; as it stands it is right."""

    draw: Draw = "sampled"
    replacement = False
    needs_laws = True
    lossless = True

    def __call__(self, tree: DraftTree, laws: Laws, stream: Stream) -> Verdict:
        node, path = ROOT, list[int]()
        while True:
            here, p = stream.ahead(len(path)), self.p(tree, laws, node)
            for sibling, child in enumerate(tree.children(node)):
                q = self.q(tree, child)
                if self.accepts(here, p, q, tree.tokens[child], sibling):
                    path.append(child)
                    node = child
                    break
                p = self.left(p, q)
            else:
                return self.end(tree, path, here, p)

    def p(self, tree: DraftTree, laws: Laws, node: int) -> Law:
        return laws(node)

    def q(self, tree: DraftTree, child: int) -> Law:
        law = tree.laws[child]
        assert law is not None
        return law

    def accepts(self, here: Stream, p: Law, q: Law, token: int, sibling: int) -> bool:
        return here.flip(p.prob(token), q.prob(token), sibling)

    def left(self, p: Law, q: Law) -> Law:
        return residual(p, q)

    def end(self, tree: DraftTree, path: list[int], here: Stream, p: Law) -> Verdict:
        return Verdict(tuple(path), here.draw(p, Purpose.CORRECTION))


class NoRelu(Ratio):
    """The residual is |p - q|: negative parts come back as probability."""

    def left(self, p: Law, q: Law) -> Law:
        return of_weights(np.arange(p.size), np.abs(p.dense() - q.dense()) + 1e-300, p.size)


class NoResidual(Ratio):
    """After a rejection the token is drawn from p itself."""

    def left(self, p: Law, q: Law) -> Law:
        return p


class NextQ(Ratio):
    """The draft law is one row off: that of the next draft."""

    def q(self, tree: DraftTree, child: int) -> Law:
        return super().q(tree, min(child + 1, len(tree) - 1))


class NextP(Ratio):
    """The target's law is one row off: that after the draft, where the one before it judges it."""

    def p(self, tree: DraftTree, laws: Laws, node: int) -> Law:
        children = tree.children(node)
        return laws(children[0]) if children else laws(node)


class BonusFromQ(Ratio):
    """After full acceptance the bonus comes from the last draft law."""

    def end(self, tree: DraftTree, path: list[int], here: Stream, p: Law) -> Verdict:
        if path and not tree.children(path[-1]):
            p = self.q(tree, path[-1])
        return super().end(tree, path, here, p)


class InvertedRatio(Ratio):
    """Accepts with probability min(1, q / p)."""

    def accepts(self, here: Stream, p: Law, q: Law, token: int, sibling: int) -> bool:
        return here.flip(q.prob(token), p.prob(token), sibling)


class RatioOfAnotherToken(Ratio):
    """The ratio is taken at the token that the target sampled, not at the candidate."""

    def accepts(self, here: Stream, p: Law, q: Law, token: int, sibling: int) -> bool:
        other = here.draw(p, Purpose.TARGET)
        return here.flip(p.prob(other), q.prob(other), sibling)


class ArgmaxThenSample(Ratio):
    """Accepts what the target likes best, else samples from p: right when greedy, wrong when not."""

    def accepts(self, here: Stream, p: Law, q: Law, token: int, sibling: int) -> bool:
        return token == p.mode()

    def left(self, p: Law, q: Law) -> Law:
        return p


class BonusDropped(Ratio):
    """After full acceptance the last draft is the last token: the law is right, a token a pass is lost."""

    def end(self, tree: DraftTree, path: list[int], here: Stream, p: Law) -> Verdict:
        if path and not tree.children(path[-1]):
            return Verdict(tuple(path[:-1]), tree.tokens[path[-1]])
        return super().end(tree, path, here, p)


class TopPEverywhere(Ratio):
    """Right: cuts p to its nucleus at every row (the rules of its world do not)."""

    def p(self, tree: DraftTree, laws: Laws, node: int) -> Law:
        law = warp(np.log(np.maximum(laws(node).dense(), 1e-300)), 1.0, 0, 0.6, 0.0)
        assert law is not None
        return law


class TopPAtTheBonus(TopPEverywhere):
    """Cuts p to its nucleus at the last row only."""

    def p(self, tree: DraftTree, laws: Laws, node: int) -> Law:
        return laws(node) if tree.children(node) else super().p(tree, laws, node)


class TargetNoiseCorrection(Ratio):
    """Right for drafts that are independent of the target's noise: the last token is drawn with it."""

    def end(self, tree: DraftTree, path: list[int], here: Stream, p: Law) -> Verdict:
        return Verdict(tuple(path), here.draw(p, Purpose.TARGET))
