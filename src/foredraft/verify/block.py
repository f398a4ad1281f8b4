"""Block verification (Sun et al. 2403.10444): a chain is judged as a whole, not token by token.

    m_0 = 1,  m_i = min(1, m_{i-1} p_i(x_i) / q_i(x_i))
    h_i = s / (s + 1 - m_i) with s = sum of (m_i p_{i+1} - q_{i+1})+, and h_g = m_g for the last
    the longest i that passes with h_i is accepted; the next token is drawn from (m_i p_{i+1} - q_{i+1})+, at g from p

The test with h_i is made in two, with m_i and, where that passes, with h_i / m_i, so that most sums are never made: h_i
is not above m_i. No lossless rule accepts more of a chain in expectation, as the paper proves. On a tree with branches
it is traversal verification, which on a chain gives the same verdicts from the same stream: this is its short form.
"""

from __future__ import annotations

from foredraft.core.law import excess
from foredraft.core.protocols import Draw, Laws, Verdict
from foredraft.core.stream import Purpose, Stream
from foredraft.core.tree import ROOT, DraftTree
from foredraft.verify.traversal import Traversal, handed_up, lanes


class Block:
    """Accepts the longest beginning of a chain that passes."""

    draw: Draw = "sampled"
    replacement = False
    needs_laws = True
    lossless = True

    def __call__(self, tree: DraftTree, laws: Laws, stream: Stream) -> Verdict:
        chain = _chain(tree)
        if chain is None:
            return Traversal()(tree, laws, stream)
        masses, ps = [1.0], [laws(ROOT)]
        for node in chain:
            q, token = tree.law(node), tree.tokens[node]
            mass = min(1.0, masses[-1] * ps[-1].prob(token) / q.prob(token))
            if mass <= 0:  # nothing from here on can be accepted
                break
            masses.append(mass)
            ps.append(laws(node))
        # From the end, so that the first success is the longest: the tests are independent, each a node's own.
        for length in range(len(ps) - 1, -1, -1):
            mass, p = masses[length], ps[length]
            first, second = lanes(chain[length - 1] if length else ROOT)
            if not stream.flip(mass, 1.0, first):
                continue
            left = mass
            if length < len(chain):
                over, p = excess(p, tree.law(chain[length]), mass)
                left = handed_up(over, mass)
            if stream.flip(left, mass, second):
                break
        return Verdict(chain[:length], stream.ahead(length).draw(p, Purpose.CORRECTION))


def _chain(tree: DraftTree) -> tuple[int, ...] | None:
    """The drafted nodes from the root down; None where a node has several children."""
    chain = list[int]()
    children = tree.children(ROOT)
    while len(children) == 1:
        chain.append(children[0])
        children = tree.children(chain[-1])
    return None if children else tuple(chain)
