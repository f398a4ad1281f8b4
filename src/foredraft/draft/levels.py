"""Heads that draft level by level: what follows a drafted token is known once the head has read it.

Hydra (2402.05109) and EAGLE (2401.15077) are of this kind. The nodes of a level, of all sequences of a round, are rows
of one pass.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Protocol, cast

import numpy as np

from foredraft.core.heads import Feed, Head
from foredraft.core.protocols import Ask, Query
from foredraft.core.rules import Logits
from foredraft.core.tree import ROOT, DraftTree
from foredraft.draft.family import Provided
from foredraft.draft.growth import Growth
from foredraft.draft.head_drafter import HeadDrafter, HeadOptions
from foredraft.draft.head_state import HeadState
from foredraft.draft.level_tree import Children, LevelTree


class Levels(Head, Protocol):
    """A head whose `score` gives one level, what follows the last token fed, the root, and keeps in the cache what
    `level` goes on from."""

    def level(self, queries: Sequence[Query]) -> list[Logits]:
        """ONE pass over drafted tokens: each follows the root, -1, or a token given since the last `score` of its
        cache, by its place among those. Logits [tokens, places] of what follows each. No cache keeps them: its next
        `score` forgets them, and so does a trim."""

    def children(self, logits: Logits, count: int) -> Children:
        """The likeliest places after each row of logits, best first, and their log probabilities."""


class LevelDrafter(HeadDrafter[Levels]):
    def grow(self, asks: Sequence[Ask[HeadState]], feeds: Sequence[Feed]) -> list[DraftTree]:
        growths = [self._growth(ask) for ask in asks]
        given: list[list[int]] = [[] for _ in asks]  # nodes by their place in the head's passes
        rows = [logits[:1] for logits in self.head.score(feeds)]
        for depth in range(max((feed.block for feed in feeds), default=0)):
            for growth, logits in zip(growths, rows, strict=True):
                if growth.frontier:
                    growth.level(depth, logits)
            going = [
                place
                for place, (ask, feed, growth) in enumerate(zip(asks, feeds, growths, strict=True))
                if growth.frontier and depth + 1 < feed.block and pays(growth, ask)
            ]
            for place in set(range(len(feeds))).difference(going):
                growths[place].frontier = []
            queries = [_query(feeds[place], growths[place], given[place]) for place in going]
            rows = [np.empty((0, len(self.head.says)))] * len(feeds)
            for place, logits in zip(going, self.head.level(queries) if queries else (), strict=True):
                rows[place] = logits
        return [self._finished(ask, growth) for ask, growth in zip(asks, growths, strict=True)]

    def laws(self, feed: Feed, follows: Sequence[int]) -> Logits:
        rows = [self.head.score([feed])[0][:1]]
        for place, token in enumerate(follows[: feed.block - 1]):
            rows += self.head.level([Query(feed.cache, (token,), (place - 1,))])
        return np.concatenate(rows)

    def _growth(self, ask: Ask[HeadState]) -> Growth | LevelTree:
        rules = ask.rules
        if rules.steps or rules.grammar is not None or (rules.temperature > 0 and ask.draw == "sampled"):
            return Growth(ask, self.head.says)
        return LevelTree(ask.budget, self.head.says.tolist(), self.head.children)

    def _finished(self, ask: Ask[HeadState], growth: Growth | LevelTree) -> DraftTree:
        tree = growth.tree(self.name)
        return tree.with_point_laws(ask.vocab_size) if ask.draw == "sampled" and isinstance(growth, LevelTree) else tree


def pays(growth: Growth | LevelTree, ask: Ask[HeadState]) -> bool:
    """Whether another level may bring what it takes: no more than its frontier's chances. What is drawn is not told."""
    gain = sum(math.exp(growth.score[node]) for node in growth.frontier)
    return ask.draw == "sampled" or gain >= ask.budget.min_step


def _query(feed: Feed, growth: Growth | LevelTree, given: list[int]) -> Query:
    """The frontier, whose parents were given before; notes that it is given."""
    at = {node: place for place, node in enumerate(given)} | {ROOT: ROOT}
    parents = tuple(at[growth.parents[node]] for node in growth.frontier)
    given.extend(growth.frontier)
    return Query(feed.cache, tuple(growth.ends), parents)


def build(options: HeadOptions, provided: Provided) -> LevelDrafter:
    return LevelDrafter(cast(Levels, options.given(provided)), options.depth, name=options.name, window=options.window)
