"""Traversal verification (2505.12398): block verification on trees, from the leaves up.

A node is judged after all below it, and what its children left is handed up: a branch that fails at its end may still
be accepted further up, so on no tree are fewer tokens expected than from testing top down. With m the mass handed down
to a node, p the target's law after it and q the law of a child c:

    m_c = min(1, m p(c) / q(c))                      mass handed down to the child
    s = sum of (m p - q)+,  m = s / (s + 1 - m),  p = (m p - q)+ / s      after all of the child's subtree failed
    accept with probability m                        after all children failed; the root, where m = 1, always

The test is made in two: with the mass the node was handed down when it is reached, and in the end with the share that
is left of it, which never grows. Where the first fails, what the last child leaves need not be computed.

Every node carries the law its token was drawn from given its earlier siblings, so siblings with replacement, without,
and points need no cases of their own.
"""

from __future__ import annotations

from foredraft.core.law import Law, excess
from foredraft.core.protocols import Draw, Laws, Verdict
from foredraft.core.stream import Purpose, Stream
from foredraft.core.tree import ROOT, DraftTree


class Place:
    """A node on the path under test. entered, mass: what it was handed down, what it holds; p: what is left there.

    hopeful: its own first test passed.
    """

    def __init__(self, tree: DraftTree, node: int, mass: float, p: Law, stream: Stream) -> None:
        self.node = node
        self.entered = self.mass = mass
        self.p = p
        self.children = iter(tree.children(node))
        self.hopeful = stream.flip(mass, 1.0, lanes(node)[0])

    def reject(self, q: Law) -> None:
        """All of a child's subtree failed."""
        over, self.p = excess(self.p, q, self.mass)
        self.mass = handed_up(over, self.mass)


def lanes(node: int) -> tuple[int, int]:
    """Where the two tests of a node, or of ROOT, take their noise."""
    return 2 * node + 2, 2 * node + 3


def handed_up(over: float, mass: float) -> float:
    """The mass left at a node after a child failed. over: the sum of (mass p - q)+. However rounded, 1 stays 1."""
    return 1.0 if mass >= 1.0 else over / (over + 1.0 - mass)


class Traversal:
    """Accepts a path with the mass it holds, the deepest first."""

    draw: Draw = "sampled"
    replacement = False
    needs_laws = True
    lossless = True

    def __call__(self, tree: DraftTree, laws: Laws, stream: Stream) -> Verdict:
        places, failed = [Place(tree, ROOT, 1.0, laws(ROOT), stream)], None
        while True:
            here = places[-1]
            child = next(here.children, None)
            if failed is not None and (child is not None or here.hopeful):
                here.reject(tree.law(failed))
            failed = None
            if child is not None:
                mass = min(1.0, here.mass * here.p.prob(tree.tokens[child]) / tree.law(child).prob(tree.tokens[child]))
                if mass > 0:
                    places.append(Place(tree, child, mass, laws(child), stream))
                else:  # nothing below can be accepted
                    failed = child
            elif here.hopeful and stream.flip(here.mass, here.entered, lanes(here.node)[1]):
                path = tuple(place.node for place in places[1:])
                return Verdict(path, stream.ahead(len(path)).draw(here.p, Purpose.CORRECTION))
            else:
                failed = places.pop().node
