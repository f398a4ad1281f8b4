"""Recursive rejection: one recursion for every scheme that tests a draft against the ratio p / q, top down.

On a chain it is speculative sampling (Leviathan et al. 2211.17192, algorithm 1; Chen et al. 2302.01318). On a tree it
tries siblings in the order in which they were drawn, each against what earlier rejections left of p: SpecInfer's
multi-step sampling for siblings drawn independently (2305.09781), Sequoia's for siblings without replacement
(2402.12374), and deterministic children, whose law is a point. It needs no case for any of them because every node
carries the law its token was drawn from given its earlier siblings.
"""

from __future__ import annotations

from foredraft.core.law import residual
from foredraft.core.protocols import Draw, Laws, Verdict
from foredraft.core.stream import Purpose, Stream
from foredraft.core.tree import ROOT, DraftTree


class Recursive:
    """Accepts a draft token with probability min(1, p / q), else goes on with the residual (p - q)+."""

    draw: Draw = "sampled"
    replacement = False
    needs_laws = True
    lossless = True

    def __call__(self, tree: DraftTree, laws: Laws, stream: Stream) -> Verdict:
        node, path = ROOT, list[int]()
        while True:
            here, p = stream.ahead(len(path)), laws(node)
            for lane, child in enumerate(tree.children(node)):
                q, token = tree.law(child), tree.tokens[child]
                if here.flip(p.prob(token), q.prob(token), lane):
                    path.append(child)
                    node = child
                    break
                p = residual(p, q)
            else:
                return Verdict(tuple(path), here.draw(p, Purpose.CORRECTION))


class Sequoia(Recursive):
    """The same by the name of the paper whose siblings it asks for: without replacement (2402.12374)."""


class SpecInfer(Recursive):
    """Multi-step speculative sampling (2305.09781): the same, for siblings drawn with replacement."""

    replacement = True
