"""A draft model's tree under construction, level by level, with one cache for every path.

Every node that is given children has a cache that ends with it: its parent's own, or a fork of that where the parent
has other such children. So a level feeds one row a node, whatever the depth, and a chain is the tree that never forks.
The next round goes on from the path that was accepted farthest.

Which nodes a level expands is the shape's: a width for every depth, or the K likeliest paths so far, as EAGLE-2 does
(Li et al. 2406.16858, section 4.1). A token that the draft model gives less than `threshold` ends its path (the
confidence rule of Hugging Face's assisted generation); it is kept, so that a ratio verifier sees every token drawn.
"""

from __future__ import annotations

import heapq
import itertools
import math
import operator
from collections.abc import Sequence
from dataclasses import dataclass, field

from foredraft.core.law import Ids, Law
from foredraft.core.protocols import Ask, Cache
from foredraft.core.rules import Logits, Rules
from foredraft.core.tree import ROOT, DraftTree
from foredraft.draft.model_laws import Child, children

# Tokens at the beginning of a text that are read even where only its end is: attention rests on them (2309.17453).
KEPT = 4


@dataclass(frozen=True)
class Shape:
    """widths: children a node by depth; empty for a chain, or with `dynamic` children for the likeliest nodes.

    dynamic: nodes a level expands, and children each of them gets. depth: levels at most, 0 for any number.
    threshold: a token of less probability is drafted and not gone on from.
    """

    widths: tuple[int, ...] = ()
    dynamic: int = 0
    depth: int = 0
    threshold: float = 0.0

    @property
    def nodes(self) -> int | None:
        """Nodes of a tree of fixed widths; None for other shapes."""
        return sum(itertools.accumulate(self.widths, operator.mul)) or None

    def width(self, depth: int) -> int:
        """Children of a node at `depth`, 0 for the root; 0 where the tree ends."""
        if self.depth and depth >= self.depth:
            return 0
        if self.widths:
            return self.widths[depth] if depth < len(self.widths) else 0
        return self.dynamic or 1


@dataclass
class Branch:
    """A draft cache, and the tokens of the path that is in it."""

    cache: Cache
    held: list[int]

    def fork(self) -> Branch:
        return Branch(self.cache.fork(), self.held.copy())

    def trim(self, length: int) -> None:
        self.cache.trim(length)
        del self.held[length:]

    def keep(self, tokens: Sequence[int]) -> None:
        """The chain of its last pass."""
        self.cache.keep(range(len(tokens)))
        self.held.extend(tokens)

    def agrees(self, text: Sequence[int], sure: int) -> int:
        """How many tokens it has in common with the text before the root, of which the first `sure` are known to be."""
        most, agreed = min(len(self.held), len(text) - 1), sure
        while agreed < most and self.held[agreed] == text[agreed]:
            agreed += 1
        return min(agreed, most)


@dataclass
class DraftState:
    """The caches of the last draft, one of them at least; the first `sure` tokens of each are committed ones.

    skipped: tokens of the text that are not read, those after the first KEPT.
    """

    branches: list[Branch]
    sure: int = 0
    skipped: int = 0

    @property
    def held(self) -> int:
        """Tokens of the text that the longest branch holds, about."""
        return max(len(branch.held) for branch in self.branches)

    def skip(self, count: int) -> None:
        """Leaves out so many tokens from now on; what was read is forgotten."""
        self.skipped, self.sure = count, 0
        for branch in self.branches:
            branch.trim(0)

    def seen(self, text: Sequence[int]) -> Sequence[int]:
        """What of a text is read."""
        return (*text[:KEPT], *text[KEPT + self.skipped :]) if self.skipped else text

    def resume(self, text: Sequence[int]) -> Branch:
        """The branch that went the farthest along the text, cut to that; the others are closed."""
        best = max(self.branches, key=lambda branch: branch.agrees(text, self.sure))
        for branch in self.branches:
            if branch is not best:
                branch.cache.close()
        self.branches = [best]
        self.sure = best.agrees(text, self.sure)
        best.trim(self.sure)
        return best

    def close(self) -> None:
        for branch in self.branches:
            branch.cache.close()


@dataclass
class Growth:
    """text: what is read of the text. rules, branches: those at each node, ROOT included. frontier: nodes that the next
    level gives children."""

    ask: Ask[DraftState]
    text: Sequence[int]
    shape: Shape
    rules: dict[int, Rules]
    branches: dict[int, Branch]
    frontier: list[int] = field(default_factory=lambda: [ROOT])
    tokens: list[int] = field(default_factory=list)
    parents: list[int] = field(default_factory=list)
    score: list[float] = field(default_factory=list)
    laws: list[Law | None] = field(default_factory=list)

    def feeds(self) -> list[tuple[Branch, tuple[int, ...]]]:
        """For every frontier node, a branch that ends before it, and what is to be fed: the path up to the node."""
        if self.frontier == [ROOT]:
            branch = self.branches[ROOT]
            return [(branch, tuple(self.text[len(branch.held) :]))]
        taken: set[int] = set()
        for node in self.frontier:
            parent = self.parents[node]
            branch = self.branches[parent]
            if parent in taken:
                branch = branch.fork()
                self.ask.state.branches.append(branch)
            taken.add(parent)
            self.branches[node] = branch
        return [(self.branches[node], (self.tokens[node],)) for node in self.frontier]

    def grow(self, rows: Sequence[Logits], says: Ids | None, depth: int) -> None:
        """Gives every frontier node its children, from the logits after it, and chooses the next frontier."""
        frontier, added = self.frontier, list[tuple[int, Child]]()
        for node, logits in zip(frontier, rows, strict=True):
            count = self._room(depth)
            if count < 1:
                break
            rules = self.rules[node]
            dynamic = bool(self.shape.dynamic)
            for child in children(
                self.ask, rules, logits, says, depth=depth, node=node, count=count, chance=not dynamic
            ):
                added.append((self._add(node, child), child))
        self.frontier = self._next([node for node, child in added if not self._stops(node, child)])

    def _room(self, depth: int) -> int:
        """Children of the next node. How many never depends on which tokens were drawn, but for a dynamic tree."""
        width = self.shape.width(depth)
        return width if self.shape.dynamic else min(width, self.ask.budget.rows - len(self.tokens))

    def _add(self, parent: int, child: Child) -> int:
        node = len(self.tokens)
        self.tokens.append(child.token)
        self.parents.append(parent)
        self.score.append(math.log(child.chance) + (0.0 if parent == ROOT else self.score[parent]))
        self.laws.append(child.law)
        self.rules[node] = self.rules[parent].after(child.token)
        return node

    def _stops(self, node: int, child: Child) -> bool:
        """Whether the path ends with this token. It stays in the tree: what follows it was never looked at."""
        stop, path = self.ask.budget.stop, math.exp(self.score[node])
        least = self.ask.budget.min_gain if self.ask.draw != "sampled" else 0.0
        if child.prob < self.shape.threshold or path < least:
            return True
        return stop is not None and stop(child.prob, path, child.entropy)

    def _next(self, nodes: list[int]) -> list[int]:
        """All of a fixed shape; of a dynamic one the likeliest that can still have children in the tree.

        None where all that a level can bring is not worth its time; a tree that is drawn is not told.
        """
        if self.shape.dynamic:
            within = set(self._best(self.ask.budget.rows))
            nodes = sorted(heapq.nsmallest(self.shape.dynamic, within.intersection(nodes), key=self._rank))
        gain = sum(math.exp(self.score[node]) for node in nodes)
        return nodes if self.ask.draw == "sampled" or gain >= self.ask.budget.min_step else []

    def _rank(self, node: int) -> tuple[float, int]:
        return -self.score[node], node

    def _best(self, count: int) -> list[int]:
        """The likeliest nodes; closed under parents, for no node is likelier than its own, or numbered before it."""
        return heapq.nsmallest(count, range(len(self.tokens)), key=self._rank)

    def tree(self) -> DraftTree:
        tree = DraftTree.of(self.tokens, self.parents, "model", score=self.score, laws=self.laws)
        return tree.select(self._best(self.ask.budget.rows)) if len(tree) > self.ask.budget.rows else tree
