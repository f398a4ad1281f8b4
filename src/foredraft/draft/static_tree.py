"""Medusa's sparse tree (2401.10774, section 2.3.3): its shape is known before anything is drafted.

Head k's token of rank i is right with the accuracy that was measured, whatever the others say, so the chance of a node
is the product along its path; the tree is built greedily, the likeliest node next. That of fewer nodes is the beginning
of that of more.
"""

from __future__ import annotations

import heapq
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from foredraft.core.errors import UsageError
from foredraft.core.native import TWINS
from foredraft.core.rules import Logits
from foredraft.core.tree import ROOT
from foredraft.draft.block_tree import Paths


@dataclass(frozen=True)
class StaticTree:
    """accuracies: [heads, ranks]. Raises UsageError where nothing was ever measured."""

    accuracies: NDArray[np.float64]

    def __post_init__(self) -> None:
        if not self.accuracies.any():
            raise UsageError("this head knows no accuracies to build a static tree from: write tree=dynamic")

    def nodes(self, rows: int, depth: int, least: float) -> tuple[list[int], list[int], list[float]]:
        """Ranks, parents, and log path probabilities of the `rows` likeliest nodes, parents before children.

        Of nodes that are as likely the one comes first whose parent came first, then the lower rank.
        """
        floor = math.log(least) if least > 0 else -math.inf
        ranks, parents, scores = list[int](), list[int](), list[float]()
        waiting = self._children(ROOT, 0, 0.0)
        while waiting and len(ranks) < rows:
            cost, parent, rank, reached = heapq.heappop(waiting)
            if -cost < floor:
                break
            ranks.append(rank)
            parents.append(parent)
            scores.append(-cost)
            if reached < min(depth, len(self.accuracies)):
                for child in self._children(len(ranks) - 1, reached, -cost):
                    heapq.heappush(waiting, child)
        return ranks, parents, scores

    def paths(self, logits: Logits, rows: int, depth: int, least: float) -> Paths:
        """The same with the places that stand at these ranks of the logits, [levels, places]."""
        ranks, parents, scores = self.nodes(rows, min(depth, len(logits)), least)
        levels: list[int] = []
        for parent in parents:
            levels.append(0 if parent == ROOT else levels[parent] + 1)
        best = [TWINS.top(row, self.accuracies.shape[1]).tolist() for row in logits[: max(levels, default=-1) + 1]]
        kept = {ROOT: ROOT}
        for node, (rank, level, parent) in enumerate(zip(ranks, levels, parents, strict=True)):
            if rank < len(best[level]) and parent in kept:  # few tokens may have fewer ranks
                kept[node] = len(kept) - 1
        chosen = [node for node in kept if node != ROOT]
        places = [best[levels[node]][ranks[node]] for node in chosen]
        return places, [kept[parents[node]] for node in chosen], [scores[node] for node in chosen]

    def _children(self, node: int, reached: int, score: float) -> list[tuple[float, int, int, int]]:
        """A heap of (minus the score, parent, rank, depth)."""
        chances = self.accuracies[reached].tolist()
        return sorted(
            (-(score + math.log(chance)), node, rank, reached + 1) for rank, chance in enumerate(chances) if chance > 0
        )
