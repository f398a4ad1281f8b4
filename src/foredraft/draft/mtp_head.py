"""Parallel heads for multi-token prediction at work: each is a layer of its own on the target's trunk.

Whatever computes them, numpy or the native engine, is handed in; docs/algorithms/mtp.md has the mathematics.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from foredraft.core.heads import Feed
from foredraft.core.law import Ids
from foredraft.core.protocols import Cache, Model, Vectors
from foredraft.core.rules import Logits
from foredraft.draft.block_tree import Paths
from foredraft.draft.one_pass import OnePass
from foredraft.draft.plain_layers import Array, PlainLayers
from foredraft.draft.trees import PlainTrees, Trees
from foredraft.draft.trunk import PlainTrunk, Trunk
from foredraft.heads.files import HeadConfig
from foredraft.heads.shapes.mtp import MTPShape

Project = Callable[[Vectors], Logits]


@dataclass
class Caches:
    """One of each head; all hold the same rows."""

    every: list[Cache]

    @property
    def length(self) -> int:
        return self.every[0].length

    @property
    def nbytes(self) -> int:
        return sum(cache.nbytes for cache in self.every)

    def keep(self, rows: Sequence[int]) -> None:
        """Heads keep their rows by themselves."""

    def trim(self, length: int) -> None:
        for cache in self.every:
            cache.trim(length)

    def fork(self) -> Caches:
        return Caches([cache.fork() for cache in self.every])

    def close(self) -> None:
        for cache in self.every:
            cache.close()


class MTPHeads(OnePass):
    """trunks: the layer of each head. project: the norm and the target's rows, [rows, width] -> [rows, places].
    accuracies: [heads, ranks], how often each head's likeliest tokens were right."""

    def __init__(
        self,
        config: HeadConfig[MTPShape],
        tensors: Mapping[str, Array],
        trunks: Sequence[Trunk],
        project: Project,
        trees: Trees,
    ) -> None:
        self.taps, self.block = config.taps, config.block
        self.says: Ids = tensors["vocabulary"].astype(np.int64)
        self.accuracies = tensors["accuracies"].astype(np.float64)
        self._trunks, self._project, self._trees = trunks, project, trees

    def open(self) -> Caches:
        return Caches([trunk.open() for trunk in self._trunks])

    def score(self, feeds: Sequence[Feed]) -> list[Logits]:
        """Every head reads every row, for what it will draft later depends on them."""
        levels = max((feed.block for feed in feeds), default=0)
        caches = [_own(feed.cache) for feed in feeds]
        states = []
        for number, trunk in enumerate(self._trunks):
            pairs = [(cache.every[number], feed.taps) for cache, feed in zip(caches, feeds, strict=True)]
            states.append(trunk.run(pairs, read=number < levels))
        if not levels:
            return [np.empty((0, len(self.says)), np.float32) for _ in feeds]
        said = self._project(np.concatenate(states[:levels])).reshape(levels, len(feeds), -1)
        return [said[: feed.block, place] for place, feed in enumerate(feeds)]

    def bias(self, places: Sequence[int]) -> Logits:
        return np.zeros((len(places), len(self.says)), np.float32)

    def tree(self, logits: Logits, rows: int, depth: int, least: float) -> Paths:
        return self._trees.grow(np.ascontiguousarray(logits), rows, depth, least)

    def close(self) -> None:
        """Nothing to give back."""


def _own(cache: Cache) -> Caches:
    if not isinstance(cache, Caches):
        raise ValueError("a head scores its own caches only: open one with its open()")
    return cache


def plain_mtp(
    target: Model, config: HeadConfig[MTPShape], tensors: Mapping[str, Array], dtype: type[Any] = np.float32
) -> MTPHeads:
    """In numpy: what every machine can run, and the specification."""
    layers = PlainLayers(config, config.shape, tensors, dtype)
    rows = target.head_rows(tensors["vocabulary"].astype(np.int64).tolist()).astype(dtype)
    trunks = [PlainTrunk(layers, f"layers.{number}.") for number in range(config.block)]

    def project(states: Vectors) -> Logits:
        return np.stack([rows @ layers.norm(state, "norm") for state in states])

    return MTPHeads(config, tensors, trunks, project, PlainTrees())
