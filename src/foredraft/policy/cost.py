"""What a round costs, and which drafts are worth their rows: pure functions over a measured curve.

t(n), seconds of a pass of n rows, is measured, never assumed (2402.12374, section 3.3, and 2406.14066 do the same). A
round emits 1 + sum of P(path is accepted) tokens. Its rows are worth their time when they bring more tokens than the
same seconds do on average: the best policy maximises tokens - rate * seconds for the rate it attains itself (the
fixed point of Dinkelbach's method for ratios).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from operator import itemgetter

from foredraft.core.protocols import Costs
from foredraft.core.tree import ROOT, DraftTree


def pass_seconds(costs: Costs, most: int) -> tuple[float, ...]:
    """t(0) … t(most): linear between measured counts, along the last slope beyond them; t(0) = 0.

    Never falling: fewer rows cannot cost more, so where they seem to, the figure of more rows holds for them too.
    """
    if not costs.rows:
        raise ValueError("nothing was measured")
    least = accumulate(reversed(costs.seconds), min)
    points = list(zip(costs.rows, reversed(list(least)), strict=True))
    found = [0.0]
    for rows in range(1, most + 1):
        above = next((index for index, (count, _) in enumerate(points) if count >= rows), len(points) - 1)
        low, high = points[max(0, above - 1)], points[above]
        slope = (high[1] - low[1]) / (high[0] - low[0]) if high[0] > low[0] else 0.0
        found.append(max(found[-1], low[1] + slope * (rows - low[0])))
    return tuple(found)


@dataclass(frozen=True)
class Choice:
    """Nodes worth scoring, of each tree of a round, and what that brings: tokens emitted, and seconds of the pass."""

    nodes: tuple[tuple[int, ...], ...]
    tokens: float
    seconds: float


@dataclass(frozen=True)
class Choices:
    """For every count of nodes the best set of so many, over the sequences of one round.

    probes: nodes of each tree that are scored with it whatever else is. order: (tree, node), the likeliest first.
    tokens: expected of a round, and seconds: of its pass, with the first 0, 1, … of them.
    """

    probes: tuple[tuple[int, ...], ...]
    order: tuple[tuple[int, int], ...]
    tokens: tuple[float, ...]
    seconds: tuple[float, ...]

    @property
    def rows(self) -> int:
        """Of a pass without any of the nodes in order."""
        return len(self.probes) + sum(map(len, self.probes))

    def gains(self, rate: float) -> list[float]:
        """By count, tokens beyond what the same seconds bring at `rate` tokens a second."""
        return [tokens - rate * seconds for tokens, seconds in zip(self.tokens, self.seconds, strict=True)]

    def best(self, rate: float) -> Choice:
        """Of all counts, none among them, the one that gains most; of equals the lower."""
        return self.of(most_of(self.gains(rate)))

    def of(self, count: int) -> Choice:
        """The first `count` nodes."""
        nodes: list[list[int]] = [list(own) for own in self.probes]
        for which, node in self.order[:count]:
            nodes[which].append(node)
        return Choice(tuple(tuple(sorted(own)) for own in nodes), self.tokens[count], self.seconds[count])


def choices(
    trees: Sequence[DraftTree], chances: Sequence[Sequence[float]], seconds: Callable[[int], float], most: int
) -> Choices:
    """What can be scored of the sequences of one round, `most` nodes at most.

    chances: for every node, the probability that its path is accepted, none above its parent's. Nodes are taken
    likeliest first, parents before children, which for any count is the best closed set (2402.12374;
    algorithms of trees chosen by path probability). The best count is to be looked for over all of them, so that a step
    in the curve is stepped over where it pays.
    Probes are rows that must be paid for with their tree: they are counted first. Below a draft they are left out.
    """
    probes = tuple(map(_probes, trees))
    rows = len(trees) + sum(map(len, probes))
    # No path is likelier than its beginning, so in this order parents come before their children; among equals the
    # order of the trees and of their nodes stays.
    ranked = [(chances[which][node], which, node) for which, tree in enumerate(trees) for node in _drafts(tree)]
    ranked.sort(key=itemgetter(0), reverse=True)
    del ranked[most:]
    tokens = accumulate([chance for chance, _, _ in ranked], initial=float(len(trees)))
    spent = map(seconds, range(rows, rows + len(ranked) + 1))
    return Choices(probes, tuple([(which, node) for _, which, node in ranked]), tuple(tokens), tuple(spent))


def most_of(gains: Sequence[float]) -> int:
    """The count that gains most; of equals the lower."""
    return gains.index(max(gains))


def _probes(tree: DraftTree) -> tuple[int, ...]:
    """Those that follow the root or other probes, whatever is chosen."""
    return tuple(_below_the_root(tree, probes=True)) if any(tree.probes) else ()


def _drafts(tree: DraftTree) -> Iterable[int]:
    """All but probes and what follows them."""
    return _below_the_root(tree, probes=False) if any(tree.probes) else range(len(tree))


def _below_the_root(tree: DraftTree, *, probes: bool) -> list[int]:
    """Nodes whose whole path is of probes, or of drafts."""
    found = {ROOT}
    for node, parent in enumerate(tree.parents):
        if tree.probes[node] == probes and parent in found:
            found.add(node)
    return sorted(found - {ROOT})


def chain_length(acceptance: float, step: float, seconds: Callable[[int], float], rate: float, most: int) -> int:
    """The g that maximises E[tokens] - rate * seconds for a chain drafted in g steps of `step` seconds.

    E[tokens] = (1 - a^(g + 1)) / (1 - a) for an acceptance a that is the same everywhere (2211.17192, equation 1); the
    pass costs t(g + 1) as measured. Ties go to the shorter chain.
    """
    best, best_gain, tokens, reached = 0, 1.0 - rate * seconds(1), 1.0, 1.0
    for length in range(1, most + 1):
        reached *= acceptance
        tokens += reached
        gain = tokens - rate * (length * step + seconds(length + 1))
        if gain > best_gain:
            best, best_gain = length, gain
    return best
