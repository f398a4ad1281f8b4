"""A block head on the native engine: an engine of its own, whose rows are vectors and whose head is the target's.

The mathematics is docs/algorithms/block_drafter.md's. A pass is a chain: the context rows that are new, then the rows
of the block, which nobody keeps. Its matrices, the target's rows of the output head among them, are packed like a
model's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from foredraft import _native
from foredraft.core.errors import UsageError
from foredraft.core.heads import Feed
from foredraft.core.law import Ids
from foredraft.core.protocols import Model, Vectors
from foredraft.core.rules import Logits
from foredraft.models.native import Activations, NativeCache
from foredraft.models.native_head_parts import (
    Arrays,
    LayerSizes,
    Packing,
    joined,
    own_cache,
    padded,
    single,
    weights_of,
)
from foredraft.models.quantise import Quantize

Paths = tuple[list[int], list[int], list[float]]
"""Of a tree's nodes the places, the parents and the log path probabilities."""


class Shape(LayerSizes, Protocol):
    @property
    def layers(self) -> int: ...


class Sizes(Protocol):
    """What a head's file says of itself (heads/files.py)."""

    @property
    def taps(self) -> tuple[int, ...]: ...
    @property
    def block(self) -> int: ...
    @property
    def epsilon(self) -> float: ...
    @property
    def shape(self) -> Shape: ...


class NativeBlock:
    """A head and the target it stands on, which it asks for embeddings."""

    def __init__(
        self,
        target: Model,
        sizes: Sizes,
        tensors: Arrays,
        *,
        threads: int = 1,
        quantize: Quantize | None = "int8",
        activations: Activations = "int8",
        pool: Any = None,
        isa: str = "",
    ) -> None:
        """quantize: the form of the matrices, None for f32. pool: the target's threads, to share them.

        Raises UsageError for sizes that the engine does not compute.
        """
        self.taps, self.block, shape = sizes.taps, sizes.block, sizes.shape
        self.says: Ids = tensors["vocabulary"].astype(np.int64)
        self._pool = pool if pool is not None else _native.Pool(threads)
        pack = Packing.to(self._pool, quantize)
        self._target: Model | None = target
        try:
            names = [f"layers.{number}." for number in range(shape.layers)]
            rows = target.head_rows(self.says.tolist())
            weights = weights_of(pack, target, shape, sizes.epsilon, tensors, names, rows, self.block)
            how = (self._pool, isa, activations)
            self._engine = _native.Engine(weights, list(range(shape.layers)), *how, activations != "f32")
            offsets = tensors["offsets"].astype(np.float32).reshape(-1).tolist()
            tables = [pack(padded(tensors[name])) for name in ("previous.weight", "bias.weight")]
            fuse, *tables = _native.together([pack(tensors["fuse.weight"]), *tables], self._pool)
            fusion = _native.Fusion(fuse, offsets, sizes.epsilon, *how)
            self._tree = _native.BlockTree(*tables, *how)
            self._head = _native.BlockHead(self._engine, fusion, self._tree)
        except (ValueError, ArithmeticError) as error:
            raise UsageError(f"the native engine does not compute this head ({error}): train another") from error
        self._own = object()

    def open(self) -> NativeCache:
        return NativeCache(self._engine.open(), self._own)

    def score(self, feeds: Sequence[Feed]) -> list[Logits]:
        """One pass. Raises ValueError for caches of another and for taps of another width."""
        if not feeds:
            return []
        fed = self._fed(feeds)
        logits = self._head.score(*fed)
        found, place = [], 0
        for feed in feeds:
            found.append(logits[place : place + feed.block])
            place += feed.block
        return found

    def bias(self, places: Sequence[int]) -> Logits:
        found: Logits = self._tree.bias(tuple(places))
        return found

    def tree(self, logits: Logits, rows: int, depth: int, least: float) -> Paths:
        found: Paths = self._tree.grow(logits, rows, depth, least)
        return found

    def paths(self, feeds: Sequence[Feed], limits: Sequence[tuple[int, float]]) -> list[Paths]:
        """`score` and `tree` in one native call. Raises ValueError as `score` does."""
        if not feeds:
            return []
        fed = self._fed(feeds)
        found: list[Paths] = self._head.draft(*fed, limits)
        return found

    def _fed(self, feeds: Sequence[Feed]) -> tuple[list[Any], list[tuple[int, int]], Vectors, Vectors]:
        """Caches, rows and tokens wanted after them, taps, embeddings: what the native head takes."""
        if self._target is None:
            raise UsageError("this head is closed: make its drafter again")
        embedded = self._target.embed([token for feed in feeds for token in feed.tokens])
        caches = [own_cache(feed.cache, self._own) for feed in feeds]
        return caches, [(len(feed.tokens), feed.block) for feed in feeds], joined(feeds), single(embedded)

    def close(self) -> None:
        """Lets go of the weights and of the target."""
        self._engine = self._tree = self._head = self._target = None
