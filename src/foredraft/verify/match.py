"""Sample and match, the default: the target says its own token, the walk follows the child that guessed it.

At output position t the target's token is drawn with noise keyed by (seed, t) alone (Daliri et al. 2408.07978), so the
text is that of plain decoding whatever the tree, the drafter or the temperature, and only the rows on the walk need a
softmax. Greedy is the case of point laws. Exact because no draw looks at the tree.
"""

from __future__ import annotations

from foredraft.core.protocols import Draw, Laws, Verdict
from foredraft.core.stream import Purpose, Stream
from foredraft.core.tree import ROOT, DraftTree


class Match:
    """Accepts what the target says anyway."""

    draw: Draw = "coupled"
    replacement = False
    needs_laws = False
    lossless = True

    def __call__(self, tree: DraftTree, laws: Laws, stream: Stream) -> Verdict:
        node, path = ROOT, list[int]()
        while True:
            token = stream.ahead(len(path)).draw(laws(node), Purpose.TARGET)
            child = tree.child(node, token)
            if child is None:
                return Verdict(tuple(path), token)
            path.append(child)
            node = child
