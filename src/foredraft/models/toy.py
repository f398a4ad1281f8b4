"""Exact float64 models: the oracle of every proof, and a real backend to try ideas on.

A `Net` is a pure function of a path of tokens; `ToyModel` gives it the whole model contract (tree rows, caches, taps,
ends, layer views), so rows are invariant by construction. `Tables` adds up random tables of growing context, an
embedding and a head; `NGrams` is an interpolated n-gram model fitted to text.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from foredraft.core.errors import UsageError
from foredraft.core.protocols import Ability, About, Cache, Query, Scores, Vectors
from foredraft.models.paths import check_path

Array = NDArray[np.float64]


class Net(Protocol):
    """Hidden states as a pure function of the path. A row's logits are head(states(path)[-1])."""

    @property
    def vocab_size(self) -> int: ...

    @property
    def layers(self) -> int: ...

    @property
    def abilities(self) -> frozenset[Ability]: ...

    def states(self, path: Sequence[int]) -> Array:
        """[layers + 1, width]: hidden states of the last token, after 0, 1, … layers."""

    def embed(self, tokens: Sequence[int]) -> Array: ...

    def head(self, hidden: Array) -> Array: ...

    def select(self, layers: Sequence[int]) -> Net: ...


@dataclass(frozen=True, eq=False)
class Tables:
    """Layer k adds a table looked up by the last k + 1 tokens of the path.

    tables[k]: shape [vocab + 1] * (orders[k] + 1) + [width]; index `vocab` stands for "before the text". tables[0],
    looked up by the last token, is the embedding. positions: [context, width], added to it. out: [width, vocab].
    """

    tables: tuple[Array, ...]
    orders: tuple[int, ...]
    positions: Array
    out: Array
    abilities: frozenset[Ability] = frozenset({"taps", "ends", "layers"})

    @staticmethod
    def random(
        vocab_size: int,
        order: int = 2,
        *,
        seed: int,
        scale: float = 1.0,
        context: int = 64,
        zeros: float = 0.0,
        ties: bool = False,
        mixed: bool = False,
    ) -> Tables:
        """Random tables. zeros: share of impossible tokens; ties: logits rounded to halves; mixed: a dense head.

        At least one token of every law stays possible: the first is never made impossible.
        """
        generator = np.random.default_rng(seed)
        orders = tuple(range(order + 1))
        tables = []
        for size in orders:
            table = generator.normal(scale=scale, size=(vocab_size + 1,) * (size + 1) + (vocab_size,))
            tables.append(np.round(table * 2) / 2 if ties else table)
        if zeros:
            dead = generator.random(tables[-1].shape) < zeros
            dead[..., 0] = False
            tables[-1] = np.where(dead, -np.inf, tables[-1])
        positions = generator.normal(scale=scale / 2, size=(context, vocab_size))
        if ties:
            positions = np.round(positions * 2) / 2
        out = generator.normal(size=(vocab_size, vocab_size)) if mixed else np.eye(vocab_size)
        return Tables(tuple(tables), orders, positions, out)

    @property
    def vocab_size(self) -> int:
        return int(self.out.shape[1])

    @property
    def layers(self) -> int:
        return len(self.tables) - 1

    def states(self, path: Sequence[int]) -> Array:
        before = (self.vocab_size,) * max(0, max(self.orders) + 1 - len(path))
        recent = (*before, *path)
        hidden = self.positions[len(path) - 1].copy()
        states = []
        for table, order in zip(self.tables, self.orders, strict=True):
            hidden = hidden + table[tuple(recent[len(recent) - order - 1 :])]
            states.append(hidden)
        return np.stack(states)

    def embed(self, tokens: Sequence[int]) -> Array:
        return self.tables[0][list(tokens)]

    def head(self, hidden: Array) -> Array:
        # An identity head must leave -inf alone (0 * inf is not a number); one product a row, for rows are invariant.
        if np.array_equal(self.out, np.eye(len(self.out))):
            return hidden
        return hidden @ self.out if hidden.ndim == 1 else np.stack([row @ self.out for row in hidden])

    def select(self, layers: Sequence[int]) -> Tables:
        chosen = [0, *(layer + 1 for layer in layers)]
        tables, orders = tuple(self.tables[k] for k in chosen), tuple(self.orders[k] for k in chosen)
        return Tables(tables, orders, self.positions, self.out)


@dataclass(frozen=True, eq=False)
class NGrams:
    """An interpolated n-gram model: layer k mixes in the counts that follow the last k tokens.

    counts[k]: context of k tokens -> {next: count}. A context never seen leaves the shorter one's law as it is.
    """

    counts: tuple[dict[tuple[int, ...], Counter[int]], ...]
    vocab_size: int
    weight: float = 0.8
    abilities: frozenset[Ability] = frozenset({"taps", "layers"})
    orders: tuple[int, ...] = field(default=())

    @staticmethod
    def fit(texts: Sequence[Sequence[int]], vocab_size: int, order: int = 3, weight: float = 0.8) -> NGrams:
        """Counts contexts of 0 .. order - 1 tokens in `texts`."""
        counts: list[dict[tuple[int, ...], Counter[int]]] = [{} for _ in range(order)]
        for text in texts:
            for end in range(len(text)):
                for size in range(min(order, end + 1)):
                    context = tuple(text[end - size : end])
                    counts[size].setdefault(context, Counter())[text[end]] += 1
        return NGrams(tuple(counts), vocab_size, weight, orders=tuple(range(order)))

    @property
    def layers(self) -> int:
        return len(self.counts) - 1

    def states(self, path: Sequence[int]) -> Array:
        law = np.full(self.vocab_size, 1.0 / self.vocab_size)
        states = []
        for counts, order in zip(self.counts, self.orders, strict=True):
            seen = counts.get(tuple(path[len(path) - order :])) if len(path) >= order else None
            if seen:
                following = np.zeros(self.vocab_size)
                following[list(seen)] = list(seen.values())
                law = (1 - self.weight) * law + self.weight * following / following.sum()
            states.append(np.log(law))
        return np.stack(states)

    def embed(self, tokens: Sequence[int]) -> Array:
        raise UsageError("an n-gram model has no embeddings: use Tables")

    def head(self, hidden: Array) -> Array:
        return hidden

    def select(self, layers: Sequence[int]) -> NGrams:
        chosen = [0, *(layer + 1 for layer in layers)]
        counts, orders = tuple(self.counts[k] for k in chosen), tuple(self.orders[k] for k in chosen)
        return NGrams(counts, self.vocab_size, self.weight, orders=orders)


@dataclass
class ToyCache:
    """The path itself: a toy model recomputes everything from it."""

    path: list[int] = field(default_factory=list)
    tokens: tuple[int, ...] = ()
    parents: tuple[int, ...] = ()

    @property
    def length(self) -> int:
        return len(self.path)

    @property
    def nbytes(self) -> int:
        return 8 * len(self.path)

    def keep(self, rows: Sequence[int]) -> None:
        check_path(rows, self.parents)
        self.path.extend(self.tokens[row] for row in rows)
        self.tokens = self.parents = ()

    def trim(self, length: int) -> None:
        if not 0 <= length <= len(self.path):
            raise ValueError(f"a cache of {len(self.path)} tokens cannot be trimmed to {length}")
        del self.path[length:]
        self.tokens = self.parents = ()

    def fork(self) -> ToyCache:
        if self.tokens:
            raise ValueError("a cache cannot be forked while rows of a pass are pending: keep them first")
        return ToyCache(list(self.path))

    def close(self) -> None:
        self.path.clear()
        self.tokens = self.parents = ()


@dataclass(frozen=True, eq=False)
class ToyScores:
    """states: [rows, layers + 1, width]. query: what was asked for."""

    net: Net
    states: Array
    query: Query

    @property
    def vocab_size(self) -> int:
        return self.net.vocab_size

    def logits(self, row: int) -> Array:
        if self.query.argmax_only:
            raise ValueError(f"the argmax of row {row} alone was asked for, not its logits")
        return self._logits(row)

    def _logits(self, row: int) -> Array:
        if row not in self.query.logits:
            raise ValueError(f"the logits of row {row} were not asked for")
        return self.net.head(self.states[row, -1])

    def argmax(self, row: int) -> int:
        return int(np.argmax(self._logits(row)))

    def top(self, row: int) -> tuple[NDArray[np.int64], Array]:
        logits = self._logits(row)
        best = np.argsort(-logits, kind="stable")[: self.query.top]
        return best, logits[best]

    def taps(self, layer: int) -> Array:
        if layer not in self.query.taps:
            raise ValueError(f"the hidden states after {layer} layers were not asked for")
        return self.states[:, layer]


class ToyModel:
    """A net behind the model contract. passes: how many forwards were run (for tests of batching)."""

    def __init__(self, net: Net, *, name: str = "toy", context: int = 64) -> None:
        self.net = net
        width = net.states((0,)).shape[1]
        self.about = About(name, net.vocab_size, context, net.layers, width, row_invariant=True)
        self.abilities = net.abilities
        self.passes = 0

    def open(self) -> ToyCache:
        return ToyCache()

    def score(self, queries: Sequence[Query]) -> list[Scores]:
        self.passes += 1
        return [self._score(query) for query in queries]

    def _score(self, query: Query) -> ToyScores:
        cache = _own(query.cache)
        if query.taps:
            self._offers("taps")
        paths: list[tuple[int, ...]] = []
        for token, parent in zip(query.tokens, query.parents, strict=True):
            paths.append((*(tuple(cache.path) if parent < 0 else paths[parent]), token))
        longest = max(map(len, paths))
        if longest > self.about.context:
            raise ValueError(f"position {longest - 1} lies outside the context of {self.about.context}")
        cache.tokens, cache.parents = query.tokens, query.parents
        states = np.stack([self.net.states(path) for path in paths])
        return ToyScores(self.net, states, query)

    def embed(self, tokens: Sequence[int]) -> Array:
        self._offers("ends")
        return self.net.embed(tokens)

    def head(self, hidden: Vectors) -> Array:
        self._offers("ends")
        return self.net.head(np.asarray(hidden, dtype=np.float64))

    def head_rows(self, tokens: Sequence[int]) -> Array:
        self._offers("ends")
        return self.net.head(np.eye(self.about.width))[:, list(tokens)].T

    def view(self, layers: Sequence[int]) -> ToyModel:
        self._offers("layers")
        name = f"{self.about.name} layers {list(layers)}"
        return ToyModel(self.net.select(layers), name=name, context=self.about.context)

    def close(self) -> None:
        """Nothing to give back."""

    def _offers(self, ability: Ability) -> None:
        if ability not in self.abilities:
            raise UsageError(f"the model {self.about.name!r} does not offer {ability!r}: use one that does")


def _own(cache: Cache) -> ToyCache:
    if not isinstance(cache, ToyCache):
        raise ValueError("a toy model scores its own caches only")
    return cache
