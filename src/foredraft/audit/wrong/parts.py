"""Wrong rules, models, streams and stops: what a verifier, however right, cannot make good."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from foredraft.audit.worlds import Text
from foredraft.core import stop as stopping
from foredraft.core.protocols import Query, Scores
from foredraft.core.rules import Logits
from foredraft.core.stop import StopState
from foredraft.core.stream import KeyedStream, Purpose
from foredraft.models.toy import Array, Net, ToyCache, ToyModel, ToyScores

# --- rules ------------------------------------------------------------------------------------------------------------


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


# --- models -----------------------------------------------------------------------------------------------------------


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
        moved: Array = states + positions[len(past) + row] - positions[len(past) + depth]
        return moved


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


# --- streams ----------------------------------------------------------------------------------------------------------


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


# --- stops ------------------------------------------------------------------------------------------------------------


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
