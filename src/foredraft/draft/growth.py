"""The tree of a trained head where more than likelihood decides: tokens drawn by chance, penalties, a grammar.

Level by level, as a draft model's tree grows (`draft/model_tree.py`). Without laws to carry the likeliest nodes so far
get children; a tree drawn for a ratio verifier is a chain, for its shape must not tell what was drawn.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from foredraft.core.law import Ids, Law
from foredraft.core.protocols import Ask
from foredraft.core.rules import Logits, Rules
from foredraft.core.tree import ROOT, DraftTree
from foredraft.draft.model_laws import Child, Spoken, spoken_children

WIDEST = 4  # children a node gets, and nodes a level gives children
# Of a draft law what is e^-8 of the likeliest is left out: a draw costs by how many tokens there are.
DEEPEST = 8.0


@dataclass
class Growth:
    """One tree under construction. says: the tokens of the head. frontier: nodes that the next level gives children."""

    ask: Ask[Any]
    says: Ids
    frontier: list[int] = field(default_factory=lambda: [ROOT])
    tokens: list[int] = field(default_factory=list)
    parents: list[int] = field(default_factory=list)
    score: list[float] = field(default_factory=list)
    laws: list[Law | None] = field(default_factory=list)
    rules: dict[int, Rules] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.rules = {ROOT: self.ask.rules}

    @property
    def ends(self) -> list[int]:
        """The tokens of the frontier."""
        return [self.tokens[node] for node in self.frontier]

    def tree(self, source: str) -> DraftTree:
        """As many nodes as may be drafted."""
        tree = DraftTree.of(self.tokens, self.parents, source, score=self.score, laws=self.laws)
        rows = self.ask.budget.rows
        return tree.select(self._best(rows)) if len(tree) > rows else tree

    def level(self, depth: int, rows: Sequence[Logits] | Logits) -> None:
        """Gives the frontier its children, from the head's logits after each of its nodes; the next frontier."""
        alone = self.ask.draw == "sampled"
        count = 1 if alone else min(WIDEST, self.ask.budget.rows)
        grown: list[int] = []
        for node, logits in zip(self.frontier, rows, strict=True):
            rules = self.rules[node]
            spoken = self._spoken(rules, logits)
            for child in spoken_children(self.ask, rules, spoken, depth=depth, node=node, count=count):
                place = self._add(node, child)
                if not self._stops(place, child):
                    grown.append(place)
        if not alone:
            within = set(self._best(self.ask.budget.rows))
            grown = sorted(heapq.nsmallest(WIDEST, within.intersection(grown), key=self._rank))
        self.frontier = grown

    def _spoken(self, rules: Rules, row: Logits) -> Spoken:
        """The head's logits after the rules' steps, over its own tokens where nothing needs the others."""
        size, says = self.ask.vocab_size, self.says
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
