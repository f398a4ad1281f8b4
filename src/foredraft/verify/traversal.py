"""Traversal verification (2505.12398): block verification on trees, from the leaves up.

A node is judged after all below it, and what its children left is handed up: a branch that fails at its end may still
be accepted further up, so on no tree are fewer tokens expected than from testing top down. With m the mass handed down
to a node, p the target's law after it and q the law of a child c:

    m_c = min(1, m p(c) / q(c))                      mass handed down to the child
    s = sum of (m p - q)+,  m = s / (s + 1 - m),  p = (m p - q)+ / s      after all of the child's subtree failed
    accept with probability m                        after all children failed; the root, where m = 1, always

Every node carries the law its token was drawn from given its earlier siblings, so siblings with replacement, without,
and points need no cases of their own.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from foredraft.core.law import Law, excess
from foredraft.core.protocols import Draw, Laws, Verdict
from foredraft.core.stream import Purpose, Stream
from foredraft.core.tree import ROOT, DraftTree


@dataclass
class Place:
    """A node on the path under test: the mass it holds, what is left of p there, its children still to come."""

    node: int
    mass: float
    p: Law
    children: Iterator[int]

    def reject(self, q: Law) -> None:
        """All of a child's subtree failed."""
        over, self.p = excess(self.p, q, self.mass)
        self.mass = handed_up(over, self.mass)


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
        places = [Place(ROOT, 1.0, laws(ROOT), iter(tree.children(ROOT)))]
        while True:
            here = places[-1]
            child = next(here.children, None)
            if child is not None:
                q, token = tree.law(child), tree.tokens[child]
                mass = min(1.0, here.mass * here.p.prob(token) / q.prob(token))
                if mass > 0:
                    places.append(Place(child, mass, laws(child), iter(tree.children(child))))
                else:  # nothing below can be accepted
                    here.reject(q)
            elif stream.flip(here.mass, 1.0, here.node + 1):
                path = tuple(place.node for place in places[1:])
                return Verdict(path, stream.ahead(len(path)).draw(here.p, Purpose.CORRECTION))
            else:
                places.pop()
                places[-1].reject(tree.law(here.node))
