"""Which tokens may follow: rows of likely successors, by the few tokens before them.

`Successors` is the specification of a native twin that holds the rows in memory of its own; `draft/native.py` chooses.
Both do the same operations in the same order, so they give the same bits.
"""

from __future__ import annotations

import heapq
import itertools
import math
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from foredraft.core.protocols import Budget
from foredraft.core.tree import EMPTY, ROOT, DraftTree

Context = tuple[int, ...]

PROB = operator.itemgetter(0)
# Probabilities are floored here before their logarithm is taken.
LEAST = 1e-6
# Fills, from the left, contexts of fewer tokens than others of an array, and rows that end sooner.
NOTHING = -1
# Contexts remembered; those not read for longest go first, a fifth of them at a time.
CONTEXTS = 100_000


class Row(NamedTuple):
    """Successors of one context, likeliest first, and their probabilities."""

    tokens: tuple[int, ...]
    probs: tuple[float, ...]


Reading = tuple[Sequence[int], Sequence[float]]
"""Tokens that the target held likely, the likeliest first, and their logits."""
Grown = tuple[list[int], list[int], list[float]]
"""Tokens, parents and scores of a tree."""


@dataclass(frozen=True)
class Rows:
    """Rows in arrays: contexts [rows, longest], tokens [rows, width] (both int32), probs [rows, width] (float32)."""

    contexts: NDArray[np.int32]
    tokens: NDArray[np.int32]
    probs: NDArray[np.float32]


class Trust(NamedTuple):
    """score = weight * log(prob) - doubt: what a probability read elsewhere is worth in the present text."""

    weight: float
    doubt: float

    def score(self, prob: float) -> float:
        """The log of the chance that the token is accepted; never above 0."""
        return self.weight * math.log(min(max(prob, LEAST), 1.0)) - self.doubt


Follow = Callable[[Context], tuple[Row, Trust] | None]


def blend(old: Row, tokens: Sequence[int], probs: Sequence[float], share: float, width: int) -> Row:
    """The mean of a row and a new reading, which weighs `share`; among equals the newly read come first."""
    mean = dict(zip(old.tokens, old.probs, strict=True))
    rest = 1.0 - share
    new = [share * prob + rest * mean.pop(token, 0.0) for token, prob in zip(tokens, probs, strict=True)]
    pairs = [*zip(new, tokens, strict=True), *((rest * prob, token) for token, prob in mean.items())]
    pairs.sort(key=PROB, reverse=True)
    del pairs[width:]
    return Row(tuple([token for _, token in pairs]), tuple([prob for prob, _ in pairs]))


@dataclass
class Successors:
    """One sequence's table: what it has learnt itself, over what was known when it began (`base`, never written), which
    may lie over another.

    trusts: one for each length of context, from 1 up. width: successors kept in a row. share: what a new reading weighs
    against the row that is there; 1 overwrites. own: the rows learnt, that not read for longest first.
    """

    trusts: Sequence[Trust]
    width: int
    share: float
    base: Successors | None = None
    own: dict[Context, Row] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.own)

    def rows(self) -> list[tuple[Context, tuple[int, ...], tuple[float, ...]]]:
        """What was learnt, the row not read for longest first: context, tokens, probabilities."""
        return [(context, row.tokens, row.probs) for context, row in self.own.items()]

    def copy(self) -> Successors:
        return Successors(self.trusts, self.width, self.share, self.base, self.own.copy())

    def take(self, learnt: Successors, share: float) -> None:
        """Takes in what `learnt` has learnt itself. Where there is a row, a new one weighs `share`; 1 overwrites.

        Raises ValueError for the table itself.
        """
        if learnt is self:
            raise ValueError("a table has nothing to learn from itself")
        for context, row in learnt.own.items():
            self._mix(context, row, share)
        if len(self.own) > CONTEXTS * 5 // 4:
            self.own = newest(self.own)

    def over(self, known: Successors | None) -> Successors:
        """What `known` has learnt, and over it what this one has: a table of its own."""
        before = known.own if known is not None else {}
        rows = {context: row for context, row in before.items() if context not in self.own} | self.own
        return Successors(self.trusts, self.width, self.share, None, newest(rows))

    def fill(self, contexts: NDArray[np.int32], tokens: NDArray[np.int32], probs: NDArray[np.float32]) -> None:
        """Writes the rows of arrays, as `Rows` has them."""
        for context, row, chances in zip(contexts.tolist(), tokens.tolist(), probs.tolist(), strict=True):
            count = sum(token != NOTHING for token in row)
            self.put([token for token in context if token != NOTHING], row[:count], chances[:count])

    def put(self, context: Sequence[int], tokens: Sequence[int], probs: Sequence[float]) -> None:
        """Writes a row."""
        self.own.pop(tuple(context), None)
        self.own[tuple(context)] = Row(tuple(tokens[: self.width]), tuple(probs[: self.width]))

    def learn(self, text: Sequence[int], tokens: Sequence[int], probs: Sequence[float]) -> None:
        """Takes in that `tokens`, likeliest first, may follow `text`, of which the last few count."""
        for size in range(1, min(len(self.trusts), len(text)) + 1):
            self._mix(tuple(text[-size:]), Row(tuple(tokens), tuple(probs)), self.share)
        if len(self.own) > CONTEXTS * 5 // 4:
            self.own = newest(self.own)

    def said(self, text: Sequence[int], prob: float) -> None:
        """Takes in a text that the target never scored: each token followed those before it, which `prob` says."""
        for end in range(1, len(text)):
            self.learn(text[max(0, end - len(self.trusts)) : end], text[end : end + 1], (prob,))

    def read(
        self,
        text: Sequence[int],
        tokens: Sequence[int],
        parents: Sequence[int],
        nodes: Sequence[int],
        readings: Sequence[Reading],
    ) -> None:
        """Takes in rows of a draft tree below `text`, those of `nodes` in this order; one of no numbers is left out."""
        size = len(self.trusts)
        contexts: dict[int, Context] = {ROOT: tuple(text[-size:])}
        for node, (token, parent) in enumerate(zip(tokens, parents, strict=True)):
            contexts[node] = (*contexts[parent], token)[-size:]
        for node, (ids, logits) in zip(nodes, readings, strict=True):
            if len(ids) and math.isfinite(logits[0]):
                weights = [math.exp(logit - logits[0]) for logit in logits]
                total = sum(weights)
                self.learn(contexts[node], ids, [weight / total for weight in weights])

    def draft(self, text: Sequence[int], rows: int, depth: int, least: float) -> Grown:
        """The likeliest tree below `text`: at most so many nodes, so deep, none with a score below `least`."""
        return grown(self.follow, text, len(self.trusts), rows, depth, least)

    def follow(self, context: Context) -> tuple[Row, Trust] | None:
        """The row of the longest known end of `context`, and what it is worth."""
        for start in range(len(context)):
            row = self._row(context[start:])
            if row is not None:
                return row, self.trusts[len(context) - start - 1]
        return None

    def _mix(self, context: Context, row: Row, share: float) -> None:
        """Writes a row; where there is one the new one weighs `share`, and 1 overwrites."""
        old = self._row(context)
        self.put(context, *(row if old is None or share == 1.0 else blend(old, *row, share, self.width)))

    def _row(self, context: Context) -> Row | None:
        return self.own.get(context) or (self.base._row(context) if self.base is not None else None)


def newest(rows: Mapping[Context, Row]) -> dict[Context, Row]:
    """The CONTEXTS rows that were read last."""
    return dict(itertools.islice(rows.items(), max(0, len(rows) - CONTEXTS), None))


def best_first(follow: Follow, text: Sequence[int], size: int, budget: Budget, source: str) -> DraftTree:
    """`grown` as a draft tree within a budget."""
    return tree_of(grown(follow, text, size, budget.rows, budget.depth, least_score(budget)), source)


def least_score(budget: Budget) -> float:
    """The score of a node that is just worth its row."""
    return math.log(budget.min_gain) if budget.min_gain > 0 else -math.inf


def tree_of(found: Grown, source: str) -> DraftTree:
    tokens, parents, score = found
    return DraftTree.of(tokens, parents, source, score=score) if tokens else EMPTY


def grown(follow: Follow, text: Sequence[int], size: int, rows: int, depth: int, least: float) -> Grown:
    """The likeliest nodes that rows span, best first, siblings in the order of their row.

    follow: a context of at most `size` tokens -> the row of what may follow it, and its trust. The score of a path is
    the sum of those of its tokens.
    """
    tokens: list[int] = []
    parents: list[int] = []
    score: list[float] = []
    contexts: dict[int, Context] = {ROOT: tuple(text[-size:])}
    levels: dict[int, int] = {ROOT: 0}
    # What may come next: minus its score, a serial number, its parent, the row it stands in and its place there.
    heap: list[tuple[float, int, int, tuple[Row, Trust], int]] = []
    serial = itertools.count()

    def offer(parent: int, found: tuple[Row, Trust] | None, place: int) -> None:
        if found is not None and place < len(found[0].tokens):
            above = 0.0 if parent == ROOT else score[parent]
            lost = -above - found[1].score(found[0].probs[place])
            if lost <= -least:
                heapq.heappush(heap, (lost, next(serial), parent, found, place))

    if rows > 0 and depth > 0:
        offer(ROOT, follow(contexts[ROOT]), 0)
    while heap and len(tokens) < rows:
        lost, _, parent, found, place = heapq.heappop(heap)
        node, token = len(tokens), found[0].tokens[place]
        tokens.append(token)
        parents.append(parent)
        score.append(-lost)
        contexts[node] = (*contexts[parent], token)[-size:]
        levels[node] = levels[parent] + 1
        offer(parent, found, place + 1)
        if levels[node] < depth:
            offer(node, follow(contexts[node]), 0)
    return tokens, parents, score
