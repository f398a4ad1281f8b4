"""Draft trees: the guesses of one round. The root is the last committed token and is not itself a node.

A chain is a tree with one branch, plain decoding an empty tree. Nodes are numbered parents first; siblings stand in the
order in which they were drafted, which ratio verifiers rely on: a node that carries a law is never cut, sorted or
merged (Chen et al. 2302.01318 and every paper since assume the law a token was drawn from; dropping after looking
changes it).
"""

from __future__ import annotations

import heapq
import math
import operator
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from foredraft.core.errors import DraftError
from foredraft.core.law import Law, Point

ROOT = -1


@dataclass(frozen=True)
class DraftTree:
    """The drafted tokens of one round, one entry a node in every field.

    parents: the node's parent, ROOT for children of the last committed token, always smaller than the node.
    score: the drafter's estimate of log P(the node's path is accepted), never above its parent's.
    sources: which drafter proposed the node; several joined by "+" where they agree.
    laws: the law the token was drawn from, given everything visible before the draw, its earlier siblings included;
        None for a token that was not drawn independently of the target's noise.
    probes: rows that are scored only to be learnt from (lookahead's window): never accepted, not counted as drafts.
    """

    tokens: tuple[int, ...] = ()
    parents: tuple[int, ...] = ()
    score: tuple[float, ...] = ()
    sources: tuple[str, ...] = ()
    laws: tuple[Law | None, ...] = ()
    probes: tuple[bool, ...] = ()

    @staticmethod
    def of(
        tokens: Sequence[int],
        parents: Sequence[int],
        source: str,
        *,
        score: Sequence[float] | None = None,
        laws: Sequence[Law | None] | None = None,
        probes: Sequence[bool] | None = None,
    ) -> DraftTree:
        """A tree from one source; without scores every node is held certain, without laws none carries one."""
        size = len(tokens)
        return DraftTree(
            tuple(tokens),
            tuple(parents),
            tuple(score) if score is not None else (0.0,) * size,
            (source,) * size,
            tuple(laws) if laws is not None else (None,) * size,
            tuple(probes) if probes is not None else (False,) * size,
        )

    @staticmethod
    def chain(
        tokens: Sequence[int], source: str, *, score: Sequence[float] | None = None, laws: Sequence[Law] | None = None
    ) -> DraftTree:
        """The tree of one branch."""
        return DraftTree.of(tokens, range(-1, len(tokens) - 1), source, score=score, laws=laws)

    def __len__(self) -> int:
        return len(self.tokens)

    @property
    def drafted(self) -> int:
        """How many nodes are drafts, probes not counted."""
        return len(self.tokens) - sum(self.probes)

    @cached_property
    def _children(self) -> dict[int, tuple[int, ...]]:
        children: dict[int, list[int]] = {}
        for node, parent in enumerate(self.parents):
            if not self.probes[node]:
                children.setdefault(parent, []).append(node)
        return {parent: tuple(nodes) for parent, nodes in children.items()}

    def children(self, node: int) -> tuple[int, ...]:
        """The drafted children of `node` (or ROOT), in the order in which they were drafted."""
        return self._children.get(node, ())

    def child(self, node: int, token: int) -> int | None:
        """The first drafted child of `node` that guesses `token`."""
        for child in self.children(node):
            if self.tokens[child] == token:
                return child
        return None

    def law(self, node: int) -> Law:
        """The law that the token of `node` was drawn from. Raises DraftError where the node carries none."""
        law = self.laws[node]
        if law is None:
            raise DraftError(f"node {node} carries no law, which this verifier needs")
        return law

    @cached_property
    def depths(self) -> tuple[int, ...]:
        """Distance from the root, 1 for its children."""
        depths: list[int] = []
        for parent in self.parents:
            depths.append(1 if parent == ROOT else depths[parent] + 1)
        return tuple(depths)

    @property
    def drawn(self) -> bool:
        """True where a token was drawn by chance from a law it carries: such a tree must stay as it is."""
        return self.laws.count(None) < len(self) and any(type(law) not in (type(None), Point) for law in self.laws)

    @property
    def depth(self) -> int:
        """The longest path; 0 for the empty tree."""
        return max(self.depths, default=0)

    def path(self, node: int) -> tuple[int, ...]:
        """The nodes from the root's child down to `node`."""
        nodes: list[int] = []
        while node != ROOT:
            nodes.append(node)
            node = self.parents[node]
        return tuple(reversed(nodes))

    def with_point_laws(self, size: int) -> DraftTree:
        """The same tree for a ratio verifier: every token was computed without chance, so its law is a point."""
        return replace(self, laws=tuple(Point(token, size) for token in self.tokens))

    def without_laws(self) -> DraftTree:
        """The same tree to look back on: laws of a large vocabulary are too much to keep."""
        return self if self.laws.count(None) == len(self) else replace(self, laws=(None,) * len(self))

    def select(self, nodes: Iterable[int]) -> DraftTree:
        """The subtree of `nodes`, which must be closed under parents; order is kept."""
        kept = sorted(nodes)
        new = {node: index for index, node in enumerate(kept)} | {ROOT: ROOT}
        return DraftTree(
            tuple([self.tokens[node] for node in kept]),
            tuple([new[self.parents[node]] for node in kept]),
            tuple([self.score[node] for node in kept]),
            tuple([self.sources[node] for node in kept]),
            tuple([self.laws[node] for node in kept]),
            tuple([self.probes[node] for node in kept]),
        )


EMPTY = DraftTree()


def check(tree: DraftTree, vocab_size: int, rows: int, depth: int, needs_laws: bool) -> None:
    """Raises DraftError unless `tree` is a tree over the vocabulary within its budget (drafts are untrusted input)."""
    fields = (tree.tokens, tree.parents, tree.score, tree.sources, tree.laws, tree.probes)
    if {*map(type, fields)} != {tuple} or len({*map(len, fields)}) != 1:
        raise DraftError("the fields of the draft tree are not tuples of one length")
    named = all(issubclass(kind, str) for kind in {*map(type, tree.sources)})
    if not named or any(map(math.isnan, tree.score)):
        raise DraftError("the draft tree has sources that are no names or scores that are no numbers")
    if len(tree) > rows:
        raise DraftError(f"{len(tree)} nodes were drafted where {rows} were asked for")
    suspects = () if _plain(tree, vocab_size, needs_laws) else zip(tree.tokens, tree.parents, strict=True)
    for node, (token, parent) in enumerate(suspects):
        if type(token) is not int or type(parent) is not int:
            raise DraftError(f"node {node} is {token!r} after {parent!r}: tokens and parents are plain ints")
        if not ROOT <= parent < node:
            raise DraftError(f"node {node} has parent {parent}, which does not come before it")
        if not 0 <= token < vocab_size:
            raise DraftError(f"token {token} lies outside the vocabulary of {vocab_size}")
        law = tree.laws[node]
        if law is not None and not (law.size == vocab_size and law.prob(token) > 0):
            raise DraftError(f"node {node} carries a law from which its token {token} cannot have been drawn")
        if needs_laws and law is None and not tree.probes[node]:
            raise DraftError(f"node {node} carries no law, which the chosen verifier needs")
    if tree.depth > depth:
        raise DraftError(f"the draft reaches depth {tree.depth} where {depth} was asked for")


def _plain(tree: DraftTree, vocab_size: int, needs_laws: bool) -> bool:
    """Whether it is surely one, laws aside: looked at as a whole, which is faster than node by node."""
    tokens, parents = tree.tokens, tree.parents
    if needs_laws or not len(tree) == tree.laws.count(None) > 0 or {*map(type, tokens), *map(type, parents)} != {int}:
        return False
    inside = min(tokens) >= 0 and max(tokens) < vocab_size and min(parents) >= ROOT
    return inside and all(map(operator.lt, parents, range(len(parents))))


def join(trees: Sequence[DraftTree]) -> DraftTree:
    """All nodes of several trees, equal paths once: the union that a policy cuts to size.

    A joined node takes the best score and the names of all its sources, as in "lookup+suffix"; no node stays less
    likely than one below it. Chosen without chance, tokens may carry point laws; a tree drawn from other laws cannot
    be joined to, for that would change them (DraftError). Probes are kept, and joined with nothing.
    """
    trees = [tree for tree in trees if len(tree)]
    if any(tree.drawn for tree in trees):
        if len(trees) == 1:
            return trees[0]
        raise DraftError("a tree drawn by chance cannot be joined with others without changing the laws it carries")
    grown = _Union()
    for tree in trees:
        grown.add(tree)
    return grown.tree()


class _Union:
    """A tree under construction, node by node."""

    def __init__(self) -> None:
        self.tokens: list[int] = []
        self.parents: list[int] = []
        self.score: list[float] = []
        self.sources: list[tuple[str, ...]] = []
        self.laws: list[Law | None] = []
        self.probes: list[bool] = []
        self.index: dict[tuple[int, int], int] = {}

    def add(self, tree: DraftTree) -> None:
        place: dict[int, int] = {ROOT: ROOT}
        for node, token in enumerate(tree.tokens):
            parent, source = place[tree.parents[node]], tree.sources[node]
            found = self.index.get((parent, token)) if not tree.probes[node] else None
            if found is None:
                found = len(self.tokens)
                self.tokens.append(token)
                self.parents.append(parent)
                self.score.append(tree.score[node])
                self.sources.append((source,))
                self.laws.append(tree.laws[node])
                self.probes.append(tree.probes[node])
                if not tree.probes[node]:
                    self.index[parent, token] = found
            else:
                self.score[found] = max(self.score[found], tree.score[node])
                if source not in self.sources[found]:
                    self.sources[found] = (*self.sources[found], source)
            place[node] = found

    def tree(self) -> DraftTree:
        for node in range(len(self.tokens) - 1, -1, -1):
            parent = self.parents[node]
            if parent != ROOT and self.score[parent] < self.score[node]:
                self.score[parent] = self.score[node]
        names = {names: names[0] if len(names) == 1 else "+".join(sorted(names)) for names in set(self.sources)}
        return DraftTree(
            tuple(self.tokens),
            tuple(self.parents),
            tuple(self.score),
            tuple(names[sources] for sources in self.sources),
            tuple(self.laws),
            tuple(self.probes),
        )


def best(tree: DraftTree, rows: int) -> DraftTree:
    """The `rows` likeliest nodes, parents before children, probes dropped. DraftError where that cuts a drawn tree."""
    if len(tree) <= rows and not any(tree.probes):
        return tree
    if tree.drawn:
        raise DraftError("a tree drawn by chance cannot be cut without changing the laws it carries")
    heap = [(-tree.score[node], node) for node in tree.children(ROOT)]
    heapq.heapify(heap)
    kept: list[int] = []
    while heap and len(kept) < rows:
        _, node = heapq.heappop(heap)
        kept.append(node)
        for child in tree.children(node):
            heapq.heappush(heap, (-tree.score[child], child))
    return tree.select(kept)
