"""Heads of which one pass says a whole block: every level is a law that does not know which tokens stand between.

Their laws become the tree of the likeliest paths (`draft/block_tree.py`), or one drawn by chance or by rules
(`draft/growth.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np

from foredraft.core.heads import Feed, Head
from foredraft.core.protocols import Ask
from foredraft.core.rules import Logits
from foredraft.core.tree import DraftTree
from foredraft.draft.block_tree import Paths
from foredraft.draft.growth import Growth
from foredraft.draft.head_drafter import HeadDrafter
from foredraft.draft.head_state import HeadState

MakePaths = Callable[[Logits, int, int, float], Paths]


class OnePass(Head, Protocol):
    """A head whose `score` gives feed.block levels, without what the drafted token before each adds (`bias`)."""

    def bias(self, places: Sequence[int]) -> Logits:
        """What each drafted token adds to the logits after it, [tokens, places]."""

    def tree(self, logits: Logits, rows: int, depth: int, least: float) -> Paths:
        """The likeliest paths of a block: places, parents and scores of at most `rows` nodes, none below `least`."""

    def paths(self, feeds: Sequence[Feed], limits: Sequence[tuple[int, float]]) -> list[Paths]:
        """`score`, and `tree` of what each feed is said to be followed by. limits: of each, `rows` and `least`."""
        scored = zip(self.score(feeds), limits, strict=True)
        return [self.tree(logits, rows, len(logits), least) for logits, (rows, least) in scored]


class OnePassDrafter(HeadDrafter[OnePass]):
    def __init__(
        self, head: OnePass, depth: int = 0, *, name: str, window: int = 0, paths: MakePaths | None = None
    ) -> None:
        """paths: which tree is drafted of logits; by default the head's own, the likeliest."""
        super().__init__(head, depth, name=name, window=window)
        self._paths = paths

    def grow(self, asks: Sequence[Ask[HeadState]], feeds: Sequence[Feed]) -> list[DraftTree]:
        if self._paths is None and not any(map(_by_chance_or_rules, asks)):
            limits = [(ask.budget.rows, ask.budget.min_gain) for ask in asks]
            return [self._spelt(ask, paths) for ask, paths in zip(asks, self.head.paths(feeds, limits), strict=True)]
        return [self._tree(ask, logits) for ask, logits in zip(asks, self.head.score(feeds), strict=True)]

    def laws(self, feed: Feed, follows: Sequence[int]) -> Logits:
        """Before any bias, which is the same product everywhere."""
        return self.head.score([feed])[0]

    def _tree(self, ask: Ask[HeadState], logits: Logits) -> DraftTree:
        if _by_chance_or_rules(ask):
            return self._grown(ask, logits)
        make = self._paths or self.head.tree
        return self._spelt(ask, make(logits, ask.budget.rows, len(logits), ask.budget.min_gain))

    def _spelt(self, ask: Ask[HeadState], paths: Paths) -> DraftTree:
        """The tree of some paths, whose places are tokens."""
        places, parents, scores = paths
        tree = DraftTree.of(self.head.says[places].tolist(), parents, self.name, score=scores)
        return tree.with_point_laws(ask.vocab_size) if ask.draw == "sampled" else tree

    def _grown(self, ask: Ask[HeadState], logits: Logits) -> DraftTree:
        growth, rows = Growth(ask, self.head.says), logits[:1]
        for level in range(len(logits)):
            if level:
                places = np.searchsorted(self.head.says, growth.ends)
                rows = logits[level] + self.head.bias(places.tolist())
            growth.level(level, rows)
            if not growth.frontier:
                break
        return growth.tree(self.name)


def _by_chance_or_rules(ask: Ask[HeadState]) -> bool:
    """Whether more than likelihood decides what is drafted."""
    rules = ask.rules
    return bool(rules.steps) or rules.grammar is not None or (rules.temperature > 0 and ask.draw == "sampled")
