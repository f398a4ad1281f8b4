"""Wrong verifiers, drafters, rules, models, streams and stops: the bugs this field keeps finding again.

Each differs from a right part in one line or two. `Ratio` is recursive rejection with a hook for every such line.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from cases import Double, Text, best, lane, net_logits, rules_after
from foredraft.core import stop as stopping
from foredraft.core.law import Dense, Law, of_weights, residual, without
from foredraft.core.protocols import Ask, Draw, Laws, Query, Scores, Verdict
from foredraft.core.rules import Logits, warp
from foredraft.core.stop import StopState
from foredraft.core.stream import KeyedStream, Purpose, Stream
from foredraft.core.tree import ROOT, DraftTree
from foredraft.models.toy import Array, Net, ToyCache, ToyModel, ToyScores

Children = list[tuple[int, Law | None]]


# --- verifiers ------------------------------------------------------------------------------------------------------


class Ratio:
    """Recursive rejection, taken apart; as it stands it is right."""

    draw: Draw = "sampled"
    replacement = False
    needs_laws = True
    lossless = True

    def __call__(self, tree: DraftTree, laws: Laws, stream: Stream) -> Verdict:
        node, path = ROOT, list[int]()
        while True:
            here, p = stream.ahead(len(path)), self.p(tree, laws, node)
            for sibling, child in enumerate(tree.children(node)):
                q = self.q(tree, child)
                if self.accepts(here, p, q, tree.tokens[child], sibling):
                    path.append(child)
                    node = child
                    break
                p = self.left(p, q)
            else:
                return self.end(tree, path, here, p)

    def p(self, tree: DraftTree, laws: Laws, node: int) -> Law:
        return laws(node)

    def q(self, tree: DraftTree, child: int) -> Law:
        law = tree.laws[child]
        assert law is not None
        return law

    def accepts(self, here: Stream, p: Law, q: Law, token: int, sibling: int) -> bool:
        return here.flip(p.prob(token), q.prob(token), sibling)

    def left(self, p: Law, q: Law) -> Law:
        return residual(p, q)

    def end(self, tree: DraftTree, path: list[int], here: Stream, p: Law) -> Verdict:
        return Verdict(tuple(path), here.draw(p, Purpose.CORRECTION))


class NoRelu(Ratio):
    """The residual is |p - q|: negative parts come back as probability."""

    def left(self, p: Law, q: Law) -> Law:
        return of_weights(np.arange(p.size), np.abs(p.dense() - q.dense()) + 1e-300, p.size)


class NoResidual(Ratio):
    """After a rejection the token is drawn from p itself."""

    def left(self, p: Law, q: Law) -> Law:
        return p


class NextQ(Ratio):
    """The draft law is one row off: that of the next draft."""

    def q(self, tree: DraftTree, child: int) -> Law:
        return super().q(tree, min(child + 1, len(tree) - 1))


class NextP(Ratio):
    """The target's law is one row off: that after the draft, where the one before it judges it."""

    def p(self, tree: DraftTree, laws: Laws, node: int) -> Law:
        children = tree.children(node)
        return laws(children[0]) if children else laws(node)


class BonusFromQ(Ratio):
    """After full acceptance the bonus comes from the last draft law."""

    def end(self, tree: DraftTree, path: list[int], here: Stream, p: Law) -> Verdict:
        if path and not tree.children(path[-1]):
            p = self.q(tree, path[-1])
        return super().end(tree, path, here, p)


class InvertedRatio(Ratio):
    """Accepts with probability min(1, q / p)."""

    def accepts(self, here: Stream, p: Law, q: Law, token: int, sibling: int) -> bool:
        return here.flip(q.prob(token), p.prob(token), sibling)


class RatioOfAnotherToken(Ratio):
    """The ratio is taken at the token that the target sampled, not at the candidate."""

    def accepts(self, here: Stream, p: Law, q: Law, token: int, sibling: int) -> bool:
        other = here.draw(p, Purpose.TARGET)
        return here.flip(p.prob(other), q.prob(other), sibling)


class ArgmaxThenSample(Ratio):
    """Accepts what the target likes best, else samples from p: right when greedy, wrong when not."""

    def accepts(self, here: Stream, p: Law, q: Law, token: int, sibling: int) -> bool:
        return token == p.mode()

    def left(self, p: Law, q: Law) -> Law:
        return p


class BonusDropped(Ratio):
    """After full acceptance the last draft is the last token: the law is right, a token a pass is lost."""

    def end(self, tree: DraftTree, path: list[int], here: Stream, p: Law) -> Verdict:
        if path and not tree.children(path[-1]):
            return Verdict(tuple(path[:-1]), tree.tokens[path[-1]])
        return super().end(tree, path, here, p)


class TopPEverywhere(Ratio):
    """Right: cuts p to its nucleus at every row (the rules of its world do not)."""

    def p(self, tree: DraftTree, laws: Laws, node: int) -> Law:
        return warp(np.log(np.maximum(laws(node).dense(), 1e-300)), 1.0, 0, 0.6, 0.0)


class TopPAtTheBonus(TopPEverywhere):
    """Cuts p to its nucleus at the last row only."""

    def p(self, tree: DraftTree, laws: Laws, node: int) -> Law:
        return laws(node) if tree.children(node) else super().p(tree, laws, node)


class TargetNoiseCorrection(Ratio):
    """Right for drafts that are independent of the target's noise: the last token is drawn with it."""

    def end(self, tree: DraftTree, path: list[int], here: Stream, p: Law) -> Verdict:
        return Verdict(tuple(path), here.draw(p, Purpose.TARGET))


# --- drafters -------------------------------------------------------------------------------------------------------


class Sampled(Double):
    """Siblings without replacement, each draw in a method of its own; as it stands it is right."""

    def drawn(self, ask: Ask[Any], path: Text) -> Law:
        """The law that tokens are drawn from."""
        return self.q(ask, path)

    def told(self, ask: Ask[Any], path: Text) -> Law:
        """The law that the verifier is told of."""
        return self.drawn(ask, path)

    def children(self, ask: Ask[Any], here: Stream, path: Text, node: int, count: int) -> Children:
        left, told = self.drawn(ask, path), self.told(ask, path)
        found: Children = []
        for sibling in range(count):
            token = here.draw(left, Purpose.DRAFT, lane(node, sibling))
            found.append((token, told))
            rest, told_rest = without(left, token), without(told, token)
            if rest is None or told_rest is None:
                break
            left, told = rest, told_rest
        return found


class Truncated(Sampled):
    """Right: draws from the two likeliest tokens and says so."""

    def drawn(self, ask: Ask[Any], path: Text) -> Law:
        law = self.q(ask, path)
        kept = np.array(sorted(best(law, 2)))
        return of_weights(kept, law.dense()[kept], law.size)


class RawLaw(Truncated):
    """Draws from the two likeliest tokens and tells the law before truncation: the residual comes from raw q."""

    def told(self, ask: Ask[Any], path: Text) -> Law:
        return self.q(ask, path)


class OtherTemperature(Sampled):
    """Draws at a higher temperature than it says."""

    def drawn(self, ask: Ask[Any], path: Text) -> Law:
        law = self.q(ask, path)
        return of_weights(np.arange(law.size), law.dense() ** 0.4, law.size)

    def told(self, ask: Ask[Any], path: Text) -> Law:
        return self.q(ask, path)


class Sorted(Sampled):
    """Siblings in the order of their probability instead of the order of their draws."""

    def children(self, ask: Ask[Any], here: Stream, path: Text, node: int, count: int) -> Children:
        law = self.q(ask, path)
        return sorted(super().children(ask, here, path, node, count), key=lambda child: -law.prob(child[0]))


class Dropped(Sampled):
    """A draft that looks unlikely is dropped after it was drawn."""

    def children(self, ask: Ask[Any], here: Stream, path: Text, node: int, count: int) -> Children:
        law = self.q(ask, path)
        return [child for child in super().children(ask, here, path, node, count) if law.prob(child[0]) > 0.3]


class Independent(Sampled):
    """Right: siblings with replacement, equal ones kept."""

    def children(self, ask: Ask[Any], here: Stream, path: Text, node: int, count: int) -> Children:
        law = self.q(ask, path)
        return [(here.draw(law, Purpose.DRAFT, lane(node, sibling)), law) for sibling in range(count)]


class Deduplicated(Independent):
    """Equal siblings are dropped after they were drawn with replacement."""

    def children(self, ask: Ask[Any], here: Stream, path: Text, node: int, count: int) -> Children:
        return list(dict(super().children(ask, here, path, node, count)).items())


class NotRenormalised(Sampled):
    """The second of two siblings without replacement is told to come from the law of the first."""

    def children(self, ask: Ask[Any], here: Stream, path: Text, node: int, count: int) -> Children:
        law = self.q(ask, path)
        return [(token, law) for token, _ in super().children(ask, here, path, node, count)]


class Coupled(Sampled):
    """Draws with the target's own noise and pretends to have drawn independently."""

    def children(self, ask: Ask[Any], here: Stream, path: Text, node: int, count: int) -> Children:
        law = self.q(ask, path)
        return [(here.draw(law, Purpose.TARGET), law)]


class Padded(Sampled):
    """Right: a draft vocabulary that is padded; padding is cut off before the draw."""

    def padded(self, ask: Ask[Any], path: Text) -> Logits:
        logits = net_logits(self.net, (*ask.committed, *path))
        return np.append(logits, [1.0, 1.0])

    def q(self, ask: Ask[Any], path: Text) -> Law:
        return rules_after(ask.rules, path).law_of(self.padded(ask, path)[: ask.vocab_size])


class PaddingDrawn(Padded):
    """A padding token is thrown away when it was drawn, and its mass stays in the law of those that are kept."""

    def children(self, ask: Ask[Any], here: Stream, path: Text, node: int, count: int) -> Children:
        law = rules_after(ask.rules, path).law_of(self.padded(ask, path))
        token = here.draw(law, Purpose.DRAFT, lane(node, 0))
        if token >= ask.vocab_size:
            return []
        return [(token, Dense(law.dense()[: ask.vocab_size]))]


# --- rules ----------------------------------------------------------------------------------------------------------


@dataclass
class MutablePenalty:
    """A frequency penalty that counts in place: what was drafted and rejected stays counted."""

    strength: float
    counts: dict[int, int] = field(default_factory=dict)

    def apply(self, logits: Logits) -> Logits:
        out = logits.astype(np.float64)
        for token, count in self.counts.items():
            out[token] -= self.strength * count
        return out

    def after(self, token: int) -> MutablePenalty:
        self.counts[token] = self.counts.get(token, 0) + 1
        return self


@dataclass
class SharedCounts(MutablePenalty):
    """As the last, in objects of its own that share one table: siblings see each other's tokens."""

    def after(self, token: int) -> SharedCounts:
        super().after(token)
        return SharedCounts(self.strength, self.counts)


# --- models ---------------------------------------------------------------------------------------------------------


class LastArgmax(ToyModel):
    """Its fast argmax takes the highest id among equals, where the rules take the lowest."""

    def score(self, queries: Sequence[Query]) -> list[Scores]:
        return [_LastArgmaxScores(**vars(score)) for score in super().score(queries)]


class _LastArgmaxScores(ToyScores):
    def argmax(self, row: int) -> int:
        logits = self.net.head(self.states[row, -1])
        return len(logits) - 1 - int(np.argmax(logits[::-1]))


@dataclass(frozen=True, eq=False)
class Padding:
    """A net whose head has one id more than there are tokens, with this logit: right when -inf."""

    net: Net
    logit: float

    @property
    def vocab_size(self) -> int:
        return self.net.vocab_size + 1

    @property
    def layers(self) -> int:
        return self.net.layers

    @property
    def abilities(self) -> frozenset[Any]:
        return frozenset()

    def states(self, path: Sequence[int]) -> Array:
        return self.net.states(path)

    def embed(self, tokens: Sequence[int]) -> Array:
        return self.net.embed(tokens)

    def head(self, hidden: Array) -> Array:
        return np.append(self.net.head(hidden), self.logit)

    def select(self, layers: Sequence[int]) -> Padding:
        return Padding(self.net.select(layers), self.logit)


class FirstRows(ToyModel):
    """Its cache keeps as many rows as were accepted, from the first on: right for chains only."""

    def open(self) -> ToyCache:
        return _FirstRowsCache()


class _FirstRowsCache(ToyCache):
    def keep(self, rows: Sequence[int]) -> None:
        self.path.extend(self.tokens[: len(rows)])
        self.tokens = self.parents = ()


class TreeRows(ToyModel):
    """Recomputes every row from what it can see; as it stands it is right."""

    def score(self, queries: Sequence[Query]) -> list[Scores]:
        pasts = [tuple(query.cache.path) for query in queries]  # type: ignore[attr-defined]
        found = super().score(queries)
        return [
            replace(score, states=np.stack([self.row(past, query, row) for row in range(len(query.tokens))]))
            for past, query, score in zip(pasts, queries, found, strict=True)
            if isinstance(score, ToyScores)
        ]

    def row(self, past: Text, query: Query, row: int) -> Array:
        return self.net.states((*past, *(query.tokens[ancestor] for ancestor in ancestors(query, row))))


def ancestors(query: Query, row: int) -> list[int]:
    rows: list[int] = []
    while row >= 0:
        rows.append(row)
        row = query.parents[row]
    return rows[::-1]


class PositionOfRow(TreeRows):
    """A row's position is its index in the pass, not its depth."""

    def row(self, past: Text, query: Query, row: int) -> Array:
        states = super().row(past, query, row)
        depth, positions = len(ancestors(query, row)) - 1, self.net.positions  # type: ignore[attr-defined]
        return states + positions[len(past) + row] - positions[len(past) + depth]


class BlindToItself(TreeRows):
    """The mask lacks its diagonal: a drafted row does not see its own token."""

    def row(self, past: Text, query: Query, row: int) -> Array:
        seen = ancestors(query, row)
        own = query.tokens[row] if len(seen) == 1 else query.tokens[seen[-2]]
        states = self.net.states((*past, *(query.tokens[ancestor] for ancestor in seen[:-1]), own))
        return states if len(seen) > 1 else super().row(past, query, row)


class CausalRows(TreeRows):
    """A causal mask over the rows of a tree: a branch sees its neighbours."""

    def row(self, past: Text, query: Query, row: int) -> Array:
        return self.net.states((*past, *query.tokens[: row + 1]))


# --- streams --------------------------------------------------------------------------------------------------------


class KeyedByRound(KeyedStream):
    """The target's own noise depends on the round it is drawn in."""

    def _key(self, purpose: Purpose, lane: int) -> tuple[int, int, int, int, int]:
        if purpose is Purpose.TARGET:
            purpose, lane = Purpose.CORRECTION, lane + 1000
        return super()._key(purpose, lane)


class OneUniform(KeyedStream):
    """All acceptance tests of a round share one uniform."""

    def flip(self, p: float, q: float, lane: int) -> bool:
        return KeyedStream(self.seed, self.choice, self.origin, self.origin).flip(p, q, 0)


class ReusedUniform(KeyedStream):
    """A draft is judged with the uniform it was drawn with."""

    def flip(self, p: float, q: float, lane: int) -> bool:
        drawn = 16 * (self.position - self.origin)  # the lane of a chain's node at this depth
        return bool(self._uniforms(1, Purpose.DRAFT, drawn)[0] * q < p)


class ZeroUniform(KeyedStream):
    """u <= p / q with a u that can be 0. A 32-bit one is 0 once in 2^32 draws; six bits show it sooner."""

    def flip(self, p: float, q: float, lane: int) -> bool:
        u = np.floor(self._uniforms(1, Purpose.ACCEPT, lane)[0] * 64) / 64
        return bool(u <= p / q)


# --- stops ----------------------------------------------------------------------------------------------------------


def past_the_end(state: StopState, block: Sequence[int]) -> tuple[tuple[int, ...], StopState]:
    """An end token is looked for at the end of the block only."""
    kept, after = stopping.trim(state, block)
    if after.finish == "stop" and len(kept) < len(block):
        rest = tuple(block[len(kept) : len(kept) + after.remaining])
        return kept + rest, replace(after, count=after.count + len(rest))
    return kept, after


def cap_first(state: StopState, block: Sequence[int]) -> tuple[tuple[int, ...], StopState]:
    """The cap is applied first, and then nothing else is looked for."""
    if len(block) < state.remaining:
        return stopping.trim(state, block)
    kept = tuple(block[: state.remaining])
    return kept, replace(state, count=state.count + len(kept), finish="length")
