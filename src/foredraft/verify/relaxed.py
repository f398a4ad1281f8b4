"""Relaxed acceptance: a draft stands that the target likes nearly as well as its own choice. LOSSY.

A walk like that of `match`: the target draws its own token, and the child that says it is followed. Where none does,
the likeliest child that is among the target's `top_k` tokens and at least `ratio` times as likely as the best of them
is followed instead. (TensorRT-LLM's relaxed acceptance, made for the thinking of reasoning models, is of this kind:
among the likeliest tokens, those not far below the first.) Every such step replaces a token of the target's by one of
the drafter's. At temperature 0, where laws are points, there is none.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from foredraft.core.errors import UsageError
from foredraft.core.law import Law
from foredraft.core.protocols import Draw, Laws, Verdict
from foredraft.core.stream import Purpose, Stream
from foredraft.core.tree import ROOT, DraftTree


@dataclass(frozen=True)
class Relaxed:
    """top_k, ratio: among so many likeliest tokens, and at least so likely relative to the likeliest."""

    top_k: int = 10
    ratio: float = 0.5
    draw: ClassVar[Draw] = "coupled"
    replacement: ClassVar[bool] = False
    needs_laws: ClassVar[bool] = False
    lossless: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if self.top_k < 1:
            raise UsageError(f"top_k of verifier 'relaxed' must be at least 1, not {self.top_k}")
        if not 0 < self.ratio <= 1:
            raise UsageError(f"ratio of verifier 'relaxed' must be in (0, 1], not {self.ratio}")

    def __call__(self, tree: DraftTree, laws: Laws, stream: Stream) -> Verdict:
        node, path = ROOT, list[int]()
        while True:
            p = laws(node)
            token = stream.ahead(len(path)).draw(p, Purpose.TARGET)
            child = tree.child(node, token)
            if child is None:
                child = self._nearest(tree, node, p)
            if child is None:
                return Verdict(tuple(path), token)
            path.append(child)
            node = child

    def _nearest(self, tree: DraftTree, node: int, p: Law) -> int | None:
        """The likeliest child that will do, the first of equals."""
        chances = {child: p.prob(tree.tokens[child]) for child in tree.children(node)}
        if not chances:
            return None
        child = max(chances, key=lambda child: (chances[child], -child))
        ids, probs = p.support()
        # Likelier tokens, and among equals those of a lower id, come before it.
        before = (probs > chances[child]) | ((probs == chances[child]) & (ids < tree.tokens[child]))
        near = chances[child] >= self.ratio * probs.max() and int(before.sum()) < self.top_k
        return child if near else None
