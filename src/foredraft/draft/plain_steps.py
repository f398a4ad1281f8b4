"""Heads that draft token by token in numpy: what every machine can run, and the specification of the native ones.

The mathematics is docs/algorithms/eagle.md's, eagle3.md's and mtp_sequential.md's, row by row.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from foredraft.core.heads import Feed
from foredraft.core.law import Ids
from foredraft.core.protocols import Model, Vectors
from foredraft.core.rules import Logits
from foredraft.draft.plain_layers import Array, PlainCache, PlainLayers, own_cache
from foredraft.heads.files import HeadConfig


class PlainRows:
    """dtype: what is computed in; float64 for a reference."""

    def __init__(
        self,
        target: Model,
        config: HeadConfig[Any],
        tensors: Mapping[str, Array],
        modules: int = 1,
        dtype: type[Any] = np.float32,
    ) -> None:
        self.taps, self.block, self.modules = config.taps, config.block, modules
        self.method, self.dtype = config.method, dtype
        self.says: Ids = tensors["vocabulary"].astype(np.int64)
        self._target, self._own = target, PlainLayers(config, config.shape, tensors, dtype)
        self._head = target.head_rows(self.says.tolist()).astype(dtype)

    def open(self, module: int) -> PlainCache:
        return PlainCache(1)

    def context(self, taps: Vectors) -> Vectors:
        rows = taps.astype(self.dtype)
        if self.method == "eagle3":
            return np.stack([self._own.apply("fuse", row) for row in rows])
        return self._own.norm(rows, "feature_norm")

    def run(self, module: int, feeds: Sequence[Feed], ends: bool) -> tuple[list[Vectors], Logits]:
        found, logits = list[Vectors](), list[Logits]()
        for feed in feeds:
            cache = own_cache(feed.cache)
            embedded = self._target.embed(feed.tokens).astype(self.dtype)
            rows = [self._row(module, *both, cache) for both in zip(feed.taps, embedded, strict=True)]
            found.append(np.stack(rows))
            if feed.block:
                logits.append(self._head @ self._said(rows[-1]))
        return found, np.stack(logits) if logits else np.empty((0, len(self.says)), self.dtype)

    def close(self) -> None:
        """Nothing to give back."""

    def _row(self, module: int, carried: Array, embedded: Array, cache: PlainCache) -> Array:
        """Where a row ends that stands behind its cache, which keeps it."""
        own, at = self._own, f"layers.{module}."
        seen = cache.rows[0]
        if self.method == "eagle":
            x = own.apply(at + "join", np.concatenate([embedded, carried]))
            return own.layer(x, at, seen, cache.length)
        normed = own.norm(carried, at + "carried_norm"), own.norm(embedded, at + "embedding_norm")
        if self.method == "eagle3":
            return own.layer(carried, at, seen, cache.length, read=np.concatenate(normed[::-1]))
        return own.layer(own.apply(at + "join", np.concatenate(normed)), at, seen, cache.length)

    def _said(self, end: Array) -> Array:
        return end if self.method == "eagle" else self._own.norm(end, "norm")
