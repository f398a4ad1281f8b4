"""Which tokens may follow: rows of likely successors, by the one or two tokens before them."""

from __future__ import annotations

import heapq
import itertools
import math
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from foredraft.core.protocols import Budget
from foredraft.core.tree import EMPTY, ROOT, DraftTree

Context = tuple[int, ...]

PROB = operator.itemgetter(0)
# Probabilities are floored here before their logarithm is taken.
LEAST = 1e-6
# Contexts remembered; those not read for longest go first, a fifth of them at a time.
CONTEXTS = 50_000


class Row(NamedTuple):
    """Successors of one context, likeliest first, and their probabilities."""

    tokens: tuple[int, ...]
    probs: tuple[float, ...]


Rows = Mapping[Context, Row]


@dataclass(frozen=True)
class Trust:
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


def newest(rows: Rows) -> dict[Context, Row]:
    """The CONTEXTS rows that were read last."""
    return dict(itertools.islice(rows.items(), max(0, len(rows) - CONTEXTS), None))


def joined(known: Rows, learnt: Rows) -> dict[Context, Row]:
    """What was known, and over it what was learnt since."""
    return newest({context: row for context, row in known.items() if context not in learnt} | dict(learnt))


@dataclass
class Successors:
    """One sequence's table: what it has learnt itself, over what was known when it began (`base`, never written).

    trusts: one for each length of context, from 1 up. width: successors kept in a row. share: what a new reading weighs
    against the row that is there; 1 overwrites. A row that was not read for longest comes first in `own`.
    """

    trusts: tuple[Trust, ...]
    width: int
    share: float
    base: Rows = field(default_factory=dict)
    own: dict[Context, Row] = field(default_factory=dict)

    def copy(self) -> Successors:
        return Successors(self.trusts, self.width, self.share, self.base, self.own.copy())

    def learn(self, text: Sequence[int], tokens: Sequence[int], probs: Sequence[float]) -> None:
        """Takes in a reading: `tokens`, likeliest first, may follow `text`, of which the last few count."""
        own, share, width = self.own, self.share, self.width
        for size in range(1, min(len(self.trusts), len(text)) + 1):
            context = tuple(text[-size:])
            old = own.pop(context, None) or self.base.get(context)
            if old is None or share == 1.0:
                own[context] = Row(tuple(tokens[:width]), tuple(probs[:width]))
            else:
                own[context] = blend(old, tokens, probs, share, width)
        if len(own) > CONTEXTS * 5 // 4:
            self.own = newest(own)

    def follow(self, context: Context) -> tuple[Row, Trust] | None:
        """The row of the longest known end of `context`, and what it is worth."""
        for start in range(len(context)):
            row = self.own.get(context[start:]) or self.base.get(context[start:])
            if row is not None:
                return row, self.trusts[len(context) - start - 1]
        return None


def best_first(follow: Follow, text: Sequence[int], size: int, budget: Budget, source: str) -> DraftTree:
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
            heapq.heappush(heap, (lost, next(serial), parent, found, place))

    if budget.rows > 0 and budget.depth > 0:
        offer(ROOT, follow(contexts[ROOT]), 0)
    while heap and len(tokens) < budget.rows:
        lost, _, parent, found, place = heapq.heappop(heap)
        node, token = len(tokens), found[0].tokens[place]
        tokens.append(token)
        parents.append(parent)
        score.append(-lost)
        contexts[node] = (*contexts[parent], token)[-size:]
        levels[node] = levels[parent] + 1
        offer(parent, found, place + 1)
        if levels[node] < budget.depth:
            offer(node, follow(contexts[node]), 0)
    return DraftTree.of(tokens, parents, source, score=score) if tokens else EMPTY
