"""A block head in numpy: what every machine can run, and the specification of the native one.

The mathematics is docs/algorithms/block_drafter.md's, row by row, so that no row depends on its neighbours.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from foredraft.core.heads import Feed
from foredraft.core.law import Ids
from foredraft.core.protocols import Model
from foredraft.core.rules import Logits
from foredraft.draft.block_tree import best_first
from foredraft.draft.one_pass import OnePass
from foredraft.draft.plain_layers import Array, PlainCache, PlainLayers, own_cache
from foredraft.heads.files import HeadConfig
from foredraft.heads.shapes.block import BlockShape


class PlainBlock(OnePass):
    """dtype: what is computed in; float64 for a reference."""

    def __init__(
        self,
        target: Model,
        config: HeadConfig[BlockShape],
        tensors: Mapping[str, Array],
        dtype: type[Any] = np.float32,
    ) -> None:
        self.taps, self.block, self.config, self.dtype = config.taps, config.block, config, dtype
        self.says: Ids = tensors["vocabulary"].astype(np.int64)
        self._target, self._layers = target, PlainLayers(config, config.shape, tensors, dtype)
        self._head = target.head_rows(self.says.tolist()).astype(dtype)

    def open(self) -> PlainCache:
        return PlainCache(self.config.shape.layers)

    def score(self, feeds: Sequence[Feed]) -> list[Logits]:
        return [self._score(feed) for feed in feeds]

    def bias(self, places: Sequence[int]) -> Logits:
        previous = self._layers.tensors["previous.weight"]
        found = [self._layers.apply("bias", previous[place]) for place in places]
        return np.stack(found) if found else np.empty((0, len(self.says)), self.dtype)

    def tree(self, logits: Logits, rows: int, depth: int, least: float) -> tuple[list[int], list[int], list[float]]:
        return best_first(logits, self.bias, rows, depth, least)

    def close(self) -> None:
        """Nothing to give back."""

    def _score(self, feed: Feed) -> Logits:
        own, cache = self._layers, own_cache(feed.cache)
        width, start = self.config.width, cache.length
        embedded = self._target.embed(feed.tokens)
        parts = np.concatenate([feed.taps, embedded], axis=1).astype(self.dtype).reshape(len(embedded), -1, width)
        fused = [own.apply("fuse", row) for row in own.unit(parts).reshape(len(embedded), -1)]
        inputs = [*fused, *(fused[-1] + offset for offset in own.tensors["offsets"][: max(0, feed.block - 1)])]
        hidden = [self._row(row, cache, start + place) for place, row in enumerate(inputs)]
        cache.trim(start + len(fused))
        if not feed.block:
            return np.empty((0, len(self.says)), self.dtype)
        return np.stack([self._head @ own.norm(row, "norm") for row in hidden[len(fused) - 1 :]])

    def _row(self, x: Array, cache: PlainCache, position: int) -> Array:
        """One row through all layers, seeing every row before it and itself, whose keys and values are added."""
        for number, seen in enumerate(cache.rows):
            x = self._layers.layer(x, f"layers.{number}.", seen, position)
        return x
