"""Drafters for small worlds that behave, misbehave or draw in odd ways. None of them can make a text wrong."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from foredraft.audit.worlds import Text, World, net_logits, rules_after
from foredraft.core.law import Law, Point, of_weights, without
from foredraft.core.protocols import Ask, Budget, Needs, News, Request
from foredraft.core.stream import Purpose, Stream
from foredraft.core.tree import ROOT, DraftTree
from foredraft.models.toy import Net
from foredraft.testing.exact import BranchingStream, Chooser
from foredraft.verify.match import Match


class Double:
    """A drafter without state whose trees are grown by `children`, level by level."""

    needs = Needs()

    def __init__(self, net: Net, widths: Sequence[int]) -> None:
        self.net = net
        self.widths = tuple(widths)
        self.known: dict[Text, Law] = {}

    def open(self, request: Request, parent: object = None) -> object:
        return self  # anything but None, which would mean that the drafter has lost track

    def propose(self, asks: Sequence[Ask[Any]]) -> list[DraftTree]:
        return [self.grow(ask) for ask in asks]

    def update(self, news: Sequence[News[Any]]) -> None:
        """Nothing to learn."""

    def close(self, state: object) -> None:
        """Nothing to give back."""

    def q(self, ask: Ask[Any], path: Text) -> Law:
        """The draft's law after the committed text and `path`, by the request's own rules."""
        text = (*ask.committed, *path)
        if text not in self.known:
            self.known[text] = rules_after(ask.rules, path).law_of(net_logits(self.net, text))
        return self.known[text]

    def grow(self, ask: Ask[Any]) -> DraftTree:
        tokens: list[int] = []
        parents: list[int] = []
        laws: list[Law | None] = []
        paths: dict[int, Text] = {ROOT: ()}
        frontier = [ROOT]
        for depth, width in enumerate(self.widths[: ask.budget.depth]):
            level, frontier = frontier, []
            for node in level:
                room = min(width, ask.budget.rows - len(tokens))
                for token, law in self.children(ask, ask.stream.ahead(depth), paths[node], node, room):
                    paths[len(tokens)] = (*paths[node], token)
                    frontier.append(len(tokens))
                    tokens.append(token)
                    parents.append(node)
                    laws.append(law if ask.draw == "sampled" else None)
        return DraftTree.of(tokens, parents, "double", laws=laws)

    def children(self, ask: Ask[Any], here: Stream, path: Text, node: int, count: int) -> list[tuple[int, Law | None]]:
        raise NotImplementedError


def lane(node: int, sibling: int) -> int:
    return 16 * (node + 1) + sibling


class Iid(Double):
    """Siblings drawn independently, with replacement: equal siblings happen."""

    def children(self, ask: Ask[Any], here: Stream, path: Text, node: int, count: int) -> list[tuple[int, Law | None]]:
        law = self.q(ask, path)
        return [(here.draw(law, Purpose.DRAFT, lane(node, sibling)), law) for sibling in range(count)]


class Without(Double):
    """Siblings drawn without replacement."""

    def children(self, ask: Ask[Any], here: Stream, path: Text, node: int, count: int) -> list[tuple[int, Law | None]]:
        left: Law | None = self.q(ask, path)
        found: list[tuple[int, Law | None]] = []
        for sibling in range(count):
            if left is None:
                break
            token = here.draw(left, Purpose.DRAFT, lane(node, sibling))
            found.append((token, left))
            left = without(left, token)
        return found


class Top(Double):
    """The likeliest tokens by the draft, chosen without chance."""

    def children(self, ask: Ask[Any], here: Stream, path: Text, node: int, count: int) -> list[tuple[int, Law | None]]:
        return [(token, Point(token, ask.vocab_size)) for token in best(self.q(ask, path), count)]


class Mixed(Double):
    """The first child without chance, the others drawn from the rest; duplicates when `fresh` is false."""

    def __init__(self, net: Net, widths: Sequence[int], fresh: bool = True) -> None:
        super().__init__(net, widths)
        self.fresh = fresh

    def children(self, ask: Ask[Any], here: Stream, path: Text, node: int, count: int) -> list[tuple[int, Law | None]]:
        law = self.q(ask, path)
        first = law.mode()
        found: list[tuple[int, Law | None]] = []
        if count:
            found.append((first, Point(first, ask.vocab_size)))
        left = without(law, first) if self.fresh else law
        for sibling in range(1, count):
            if left is None:
                break
            token = here.draw(left, Purpose.DRAFT, lane(node, sibling))
            found.append((token, left))
            left = without(left, token)
        return found


class Twice(Double):
    """The same token again and again among siblings: legal, wasteful."""

    def children(self, ask: Ask[Any], here: Stream, path: Text, node: int, count: int) -> list[tuple[int, Law | None]]:
        token = self.q(ask, path).mode()
        return [(token, Point(token, ask.vocab_size))] * count


class Wrong(Double):
    """The token the draft holds least likely of all, impossible ones first: always wrong when greedy and in tune."""

    def children(self, ask: Ask[Any], here: Stream, path: Text, node: int, count: int) -> list[tuple[int, Law | None]]:
        order = np.argsort(self.q(ask, path).dense(), kind="stable")
        return [(int(token), Point(int(token), ask.vocab_size)) for token in order[:count]]


class Spam(Double):
    """The end of text, everywhere; then its neighbours."""

    def children(self, ask: Ask[Any], here: Stream, path: Text, node: int, count: int) -> list[tuple[int, Law | None]]:
        tokens = range(ask.vocab_size - 1, -1, -1)
        return [(token, Point(token, ask.vocab_size)) for token in tokens[:count]]


class Random(Double):
    """Any token, uniformly, whatever the rules say; siblings with replacement."""

    def children(self, ask: Ask[Any], here: Stream, path: Text, node: int, count: int) -> list[tuple[int, Law | None]]:
        law = of_weights(np.arange(ask.vocab_size), np.ones(ask.vocab_size), ask.vocab_size)
        return [(here.draw(law, Purpose.DRAFT, lane(node, sibling)), law) for sibling in range(count)]


def best(law: Law, count: int) -> list[int]:
    """The likeliest tokens, best first, lower ids first among equals."""
    ids, probs = law.support()
    return [int(token) for token in ids[np.argsort(-probs, kind="stable")[:count]]]


def chain_length(world: World, drafter: Double, depth: int) -> float:
    """Tokens a pass of a sampled chain, by the formula: 1 + sum over texts of the products of min(p, q)."""
    size, total = world.vocab_size, 1.0
    reached: dict[Text, float] = {(): 1.0}
    for _ in range(depth):
        ask = world.ask(drafter, Match(), Budget(depth, depth), BranchingStream(Chooser([])))
        both = {path: np.minimum(world.p(path).dense(), drafter.q(ask, path).dense()) for path in reached}
        reached = {
            (*path, token): weight * float(both[path][token])
            for path, weight in reached.items()
            for token in range(size)
            if both[path][token] > 0
        }
        total += sum(reached.values())
    return total
