"""The tree of a block where more than likelihood decides: tokens drawn by chance, penalties, a grammar.

Level by level, as a draft model's tree grows (`draft/model_tree.py`), but every level's logits are there already: those
of the block's row, and what the node's own token adds. Without laws to carry the likeliest nodes so far get children;
a tree drawn for a ratio verifier is a chain, for its shape must not tell what was drawn.
"""

from __future__ import annotations

import heapq
import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from foredraft.core.heads import Head
from foredraft.core.law import Law
from foredraft.core.protocols import Ask
from foredraft.core.rules import Logits, Rules
from foredraft.core.tree import ROOT, DraftTree
from foredraft.draft.model_laws import Child, Spoken, spoken_children

WIDEST = 4  # children a node gets, and nodes a level gives children
# Of a draft law what is e^-8 of the likeliest is left out: a draw costs by how many tokens there are.
DEEPEST = 8.0


@dataclass
class Growth:
    """One tree under construction. logits: [levels, places] of the head."""

    ask: Ask[Any]
    head: Head
    logits: Logits
    tokens: list[int] = field(default_factory=list)
    parents: list[int] = field(default_factory=list)
    score: list[float] = field(default_factory=list)
    laws: list[Law | None] = field(default_factory=list)
    rules: dict[int, Rules] = field(default_factory=dict)

    def tree(self, depth: int, source: str) -> DraftTree:
        """At most `depth` levels, and as many nodes as may be drafted."""
        frontier, rows = [ROOT], self.ask.budget.rows
        self.rules = {ROOT: self.ask.rules}
        for level in range(min(depth, len(self.logits)) if rows > 0 else 0):
            frontier = self._level(level, frontier)
            if not frontier:
                break
        tree = DraftTree.of(self.tokens, self.parents, source, score=self.score, laws=self.laws)
        return tree.select(self._best(rows)) if len(tree) > rows else tree

    def _level(self, level: int, frontier: list[int]) -> list[int]:
        """Gives the frontier its children; the next frontier."""
        base = self.logits[level]
        added = self.head.bias(self._places(frontier)) if level else np.zeros((1, 1), dtype=base.dtype)
        alone = self.ask.draw == "sampled"
        count = 1 if alone else min(WIDEST, self.ask.budget.rows)
        grown: list[int] = []
        for node, more in zip(frontier, added, strict=True):
            rules = self.rules[node]
            spoken = self._spoken(rules, base + more)
            for child in spoken_children(self.ask, rules, spoken, depth=level, node=node, count=count):
                place = self._add(node, child)
                if not self._stops(place, child):
                    grown.append(place)
        if alone:
            return grown
        within = set(self._best(self.ask.budget.rows))
        return sorted(heapq.nsmallest(WIDEST, within.intersection(grown), key=self._rank))

    def _places(self, nodes: list[int]) -> list[int]:
        found: list[int] = np.searchsorted(self.head.says, [self.tokens[node] for node in nodes]).tolist()
        return found

    def _spoken(self, rules: Rules, row: Logits) -> Spoken:
        """The head's logits after the rules' steps, over its own tokens where nothing needs the others."""
        size, says = self.ask.vocab_size, self.head.says
        if not rules.steps and rules.grammar is None:
            spoken = Spoken(row, says)
        else:
            whole = np.full(size, -np.inf, dtype=row.dtype)
            whole[says] = row
            spoken = Spoken.of(rules, whole, says, size)
        return spoken.above(DEEPEST * max(1.0, rules.temperature))

    def _add(self, parent: int, child: Child) -> int:
        node = len(self.tokens)
        self.tokens.append(child.token)
        self.parents.append(parent)
        self.score.append(math.log(child.chance) + (0.0 if parent == ROOT else self.score[parent]))
        self.laws.append(child.law)
        self.rules[node] = self.rules[parent].after(child.token)
        return node

    def _stops(self, node: int, child: Child) -> bool:
        """Whether the path ends with this token, which stays in the tree."""
        budget, path = self.ask.budget, math.exp(self.score[node])
        if self.ask.draw != "sampled" and path < budget.min_gain:
            return True
        return budget.stop is not None and budget.stop(child.prob, path, child.entropy)

    def _rank(self, node: int) -> tuple[float, int]:
        return -self.score[node], node

    def _best(self, count: int) -> list[int]:
        """The likeliest nodes; closed under parents, for no node is likelier than its own, or numbered before it."""
        return heapq.nsmallest(count, range(len(self.tokens)), key=self._rank)
