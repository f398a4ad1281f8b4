"""Hydra heads at work: head k reads the last hidden state, the root, and the k tokens that were drafted after it.

Whatever computes them, numpy or the native engine, is handed in; docs/algorithms/hydra.md has the mathematics.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from foredraft.core.heads import Feed
from foredraft.core.law import Ids
from foredraft.core.protocols import Cache, Model, Query
from foredraft.core.rules import Logits
from foredraft.draft.level_tree import Children
from foredraft.draft.medusa_head import normed
from foredraft.draft.plain_layers import Array, PlainLayers
from foredraft.draft.residual import PlainResiduals, Residuals
from foredraft.draft.trees import PlainTrees, Trees
from foredraft.draft.trunk import Passing, PlainTrunk, Trunk
from foredraft.heads.files import HeadConfig
from foredraft.heads.shapes.hydra import HydraShape


@dataclass
class HydraCache:
    """The trunk's. nodes: what the heads read for the root and the drafted tokens after it, in the order given."""

    inner: Cache
    nodes: list[Array] = field(default_factory=list)

    @property
    def length(self) -> int:
        return self.inner.length

    @property
    def nbytes(self) -> int:
        return self.inner.nbytes

    def keep(self, rows: Sequence[int]) -> None:
        """Heads keep their rows by themselves."""

    def trim(self, length: int) -> None:
        self.inner.trim(length)
        self.nodes = []

    def fork(self) -> HydraCache:
        return HydraCache(self.inner.fork())

    def close(self) -> None:
        self.inner.close()
        self.nodes = []


class HydraHeads:
    def __init__(
        self,
        target: Model,
        config: HeadConfig[HydraShape],
        tensors: Mapping[str, Array],
        trunk: Trunk,
        residuals: Residuals,
        trees: Trees,
        dtype: type[Any] = np.float32,
    ) -> None:
        self.taps, self.block, self.epsilon = config.taps, config.block, config.epsilon
        self.says: Ids = tensors["vocabulary"].astype(np.int64)
        self._target, self._norm = target, tensors["norm.weight"].astype(dtype)
        self._trunk, self._residuals, self._trees = trunk, residuals, trees

    def open(self) -> HydraCache:
        return HydraCache(self._trunk.open())

    def score(self, feeds: Sequence[Feed]) -> list[Logits]:
        read = any(feed.block for feed in feeds)
        caches = [_own(feed.cache) for feed in feeds]
        pairs = [(cache.inner, feed.taps) for cache, feed in zip(caches, feeds, strict=True)]
        states = self._trunk.run(pairs, read=read)
        if not read:
            return [np.empty((0, len(self.says)), np.float32) for _ in feeds]
        roots = self._embedded([feed.tokens[-1] for feed in feeds])
        inputs = np.concatenate([normed(states, self._norm, self.epsilon), roots], axis=1)
        for cache, row in zip(caches, inputs, strict=True):
            cache.nodes = [row]
        said = self._residuals.logits(inputs, 0, 1)
        return [logits[: min(feed.block, 1)] for logits, feed in zip(said, feeds, strict=True)]

    def level(self, queries: Sequence[Query]) -> list[Logits]:
        inputs: list[Array] = []
        for query in queries:
            cache, embedded = _own(query.cache), self._embedded(query.tokens)
            own = [np.concatenate([cache.nodes[parent + 1], e]) for parent, e in zip(query.parents, embedded)]
            cache.nodes += own
            inputs += own
        found: list[Logits] = [np.empty(0)] * len(inputs)
        for size in sorted({len(row) for row in inputs}):  # rows of one depth share a head
            places = [place for place, row in enumerate(inputs) if len(row) == size]
            head = size // len(self._norm) - 2
            said = self._residuals.logits(np.stack([inputs[place] for place in places]), head, head + 1)
            for place, row in zip(places, said[:, 0], strict=True):
                found[place] = row
        counts = np.cumsum([len(query.tokens) for query in queries])
        return [np.stack(found[end - len(query.tokens) : end]) for query, end in zip(queries, counts, strict=True)]

    def children(self, logits: Logits, count: int) -> Children:
        return self._trees.children(logits, count)

    def close(self) -> None:
        """Nothing to give back."""

    def _embedded(self, tokens: Sequence[int]) -> Array:
        """[tokens, width], brought to one size."""
        return normed(self._target.embed(tokens), np.ones_like(self._norm), self.epsilon)


def _own(cache: Cache) -> HydraCache:
    if not isinstance(cache, HydraCache):
        raise ValueError("a head scores its own caches only: open one with its open()")
    return cache


def plain_hydra(
    target: Model, config: HeadConfig[HydraShape], tensors: Mapping[str, Array], dtype: type[Any] = np.float32
) -> HydraHeads:
    """In numpy: what every machine can run, and the specification."""
    rows = None if config.shape.own else target.head_rows(tensors["vocabulary"].astype(np.int64).tolist())
    layers = PlainLayers(config, config.shape, tensors, dtype)
    trunk = PlainTrunk(layers, "prefix.") if config.shape.prefix else Passing()
    return HydraHeads(target, config, tensors, trunk, PlainResiduals(tensors, rows, dtype), PlainTrees(), dtype)
