"""The likeliest draft tree of a head that goes level by level: every level the likeliest nodes so far get children.

As EAGLE-2 does (2406.16858, section 4.1), with fewer nodes. A node that cannot stand in the tree gets no children, for
no path is likelier than what it begins with.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from foredraft.core.protocols import Budget
from foredraft.core.rules import Logits
from foredraft.core.tree import ROOT, DraftTree
from foredraft.draft.block_tree import likeliest_of
from foredraft.draft.growth import WIDEST

Children = list[tuple[list[int], list[float]]]


@dataclass
class LevelTree:
    """children: the likeliest places of rows of logits, best first, and their log probabilities. frontier: nodes that
    the next level gives children. score: of a node, its log path probability."""

    budget: Budget
    says: Sequence[int]
    children: Callable[[Logits, int], Children]
    frontier: list[int] = field(default_factory=lambda: [ROOT])
    tokens: list[int] = field(default_factory=list)
    parents: list[int] = field(default_factory=list)
    score: list[float] = field(default_factory=list)

    @property
    def ends(self) -> list[int]:
        """The tokens of the frontier."""
        return [self.tokens[node] for node in self.frontier]

    def level(self, depth: int, rows: Logits) -> None:
        """Gives the frontier its children, from the head's logits after each of its nodes; the next frontier."""
        least = math.log(self.budget.min_gain) if self.budget.min_gain > 0 else -math.inf
        grown: list[int] = []
        for node, row, found in zip(self.frontier, rows, self.children(rows, self.budget.rows), strict=True):
            before = 0.0 if node == ROOT else self.score[node]
            for place, own in zip(*found, strict=True):
                if before + own < least:
                    break
                self.tokens.append(self.says[place])
                self.parents.append(node)
                self.score.append(before + own)
                if not self._stops(own, before + own, row):
                    grown.append(len(self.tokens) - 1)
        within = set(self._best())
        self.frontier = sorted(heapq.nsmallest(WIDEST, within.intersection(grown), key=self._rank))

    def tree(self, source: str) -> DraftTree:
        tree = DraftTree.of(self.tokens, self.parents, source, score=self.score)
        return tree.select(self._best()) if len(tree) > self.budget.rows else tree

    def _stops(self, own: float, path: float, row: Logits) -> bool:
        stop = self.budget.stop
        return stop is not None and stop(math.exp(own), math.exp(path), lambda: _entropy(row))

    def _rank(self, node: int) -> tuple[float, int]:
        return -self.score[node], node

    def _best(self) -> list[int]:
        """The likeliest nodes; closed under parents, for no node is likelier than its own, or numbered before it."""
        return heapq.nsmallest(self.budget.rows, range(len(self.tokens)), key=self._rank)


def plain_children(rows: Logits, count: int) -> Children:
    """The specification of `foredraft._native.BlockTree.children`."""
    found = [list(likeliest_of(row, count, 0.0)) for row in rows]
    return [([place for place, _ in one], [own for _, own in one]) for one in found]


def _entropy(row: Logits) -> float:
    """In nats."""
    weights = np.exp(row - row.max())
    return float(np.log(weights.sum()) - (weights @ (row - row.max())) / weights.sum())
