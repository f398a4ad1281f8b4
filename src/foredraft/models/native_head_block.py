"""A trained head on the native engine: an engine of its own, whose rows are vectors and whose head is the target's.

The mathematics is docs/algorithms/block_drafter.md's. A pass is a chain: the context rows that are new, then the rows
of the block, which nobody keeps. Its matrices, the target's rows of the output head among them, are packed like a
model's.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from foredraft import _native
from foredraft.core.errors import UsageError
from foredraft.core.heads import Feed
from foredraft.core.law import Ids
from foredraft.core.protocols import Model
from foredraft.core.rules import Logits
from foredraft.models.native import Activations, NativeCache
from foredraft.models.native_parts import rotations
from foredraft.models.quantise import FORMS, GROUP, Quantize, quantise

Arrays = Mapping[str, NDArray[Any]]
Floats = NDArray[np.float32]
MATRICES = ("query", "key", "value", "out", "gate", "up", "down")
VECTORS = ("attention_norm", "hidden_norm")


class Sizes(Protocol):
    """What a head's file says of its shape (heads/files.py)."""

    @property
    def taps(self) -> tuple[int, ...]: ...
    @property
    def layers(self) -> int: ...
    @property
    def heads(self) -> int: ...
    @property
    def kv_heads(self) -> int: ...
    @property
    def head_size(self) -> int: ...
    @property
    def hidden(self) -> int: ...
    @property
    def block(self) -> int: ...
    @property
    def rope_base(self) -> float: ...
    @property
    def epsilon(self) -> float: ...


class NativeHead:
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
        self.taps, self.block = sizes.taps, sizes.block
        self.says: Ids = tensors["vocabulary"].astype(np.int64)
        self._pool = pool if pool is not None else _native.Pool(threads)
        self._pack = Packing(self._pool, FORMS[quantize] if quantize is not None else "F32")
        self._target: Model | None = target
        try:
            self._engine = _native.Engine(
                self._weights(target, sizes, tensors), list(range(sizes.layers)), self._pool, isa, activations,
                activations != "f32",
            )  # fmt: skip
            how = (self._pool, isa, activations)
            offsets = tensors["offsets"].astype(np.float32).reshape(-1).tolist()
            self._fusion = _native.Fusion(self._pack(tensors["fuse.weight"]), offsets, sizes.epsilon, *how)
            tables = (self._pack(padded(tensors[name])) for name in ("previous.weight", "bias.weight"))
            self._tree = _native.BlockTree(*tables, *how)
        except ValueError as error:
            raise UsageError(f"the native engine does not compute this head ({error}): train another") from error
        self._own = object()

    def _weights(self, target: Model, sizes: Sizes, tensors: Arrays) -> Any:
        """One engine's weights; the head stands for the embeddings too, which nobody looks up."""
        config = _native.Config()
        config.width, config.heads, config.kv_heads = target.about.width, sizes.heads, sizes.kv_heads
        config.head_size = config.rotated = sizes.head_size
        config.hidden, config.vocabulary = sizes.hidden, len(self.says)
        config.context = target.about.context + sizes.block
        config.epsilon, config.halves, config.score_scale = sizes.epsilon, True, 1 / math.sqrt(sizes.head_size)
        layers = []
        for number in range(sizes.layers):
            layer = _native.Layer()
            for name in MATRICES:
                setattr(layer, name, self._pack(tensors[f"layers.{number}.{name}.weight"]))
            for name in VECTORS:
                setattr(layer, name, tensors[f"layers.{number}.{name}.weight"].tolist())
            layer.frequencies = list(rotations(sizes.rope_base, sizes.head_size, [1.0] * (sizes.head_size // 2)))
            layers.append(layer)
        head = self._pack(target.head_rows(self.says.tolist()))
        return _native.Weights(config, layers, tensors["norm.weight"].tolist(), head, head)

    def open(self) -> NativeCache:
        return NativeCache(self._engine.open(), self._own)

    def score(self, feeds: Sequence[Feed]) -> list[Logits]:
        """One pass. Raises ValueError for caches of another and for taps of another width."""
        if not feeds:
            return []
        if self._target is None:
            raise UsageError("this head is closed: make its drafter again")
        embedded = self._target.embed([token for feed in feeds for token in feed.tokens])
        taps = feeds[0].taps if len(feeds) == 1 else np.concatenate([feed.taps for feed in feeds])
        counts = [(len(feed.tokens), max(0, feed.block - 1)) for feed in feeds]
        rows = self._fusion.rows(_single(taps), _single(embedded), counts)
        asks, begin = [], 0
        for feed, (own, more) in zip(feeds, counts, strict=True):
            end = own + more
            wanted = tuple(range(own - 1, end)) if feed.block else ()
            vectors = rows[begin : begin + end]
            asks.append((self._native(feed), (), tuple(range(-1, end - 1)), wanted, True, 0, vectors))
            begin += end
        logits = self._engine.score(asks, ())[3]
        found, place = [], 0
        for feed in feeds:
            feed.cache.keep(range(len(feed.tokens)))
            found.append(logits[place : place + feed.block])
            place += feed.block
        return found

    def bias(self, places: Sequence[int]) -> Logits:
        found: Logits = self._tree.bias(tuple(places))
        return found

    def tree(self, logits: Logits, rows: int, depth: int, least: float) -> tuple[list[int], list[int], list[float]]:
        found: tuple[list[int], list[int], list[float]] = self._tree.grow(logits, rows, depth, least)
        return found

    def close(self) -> None:
        """Lets go of the weights and of the target."""
        self._engine = self._fusion = self._tree = self._target = None

    def _native(self, feed: Feed) -> Any:
        if not isinstance(feed.cache, NativeCache) or feed.cache.owner is not self._own:
            raise ValueError("a head scores its own caches only: open one with its open()")
        return feed.cache.native


def _single(values: NDArray[Any]) -> Floats:
    return np.ascontiguousarray(values, dtype=np.float32)


class Packing:
    """Packs matrices of floats. kind: F32, or what they are quantised to."""

    def __init__(self, pool: Any, kind: str) -> None:
        self.pool, self.kind = pool, kind

    def __call__(self, weights: NDArray[Any]) -> Any:
        wide = np.ascontiguousarray(weights, dtype=np.float32)
        stored = wide.reshape(-1).view(np.uint8) if self.kind == "F32" else quantise(self.kind, wide, self.pool.threads)
        return _native.Packed.of(self.kind, *wide.shape, stored, self.pool)


def padded(table: NDArray[Any]) -> NDArray[Any]:
    """[rows, columns], zeros behind them until they fill groups."""
    return np.pad(table, ((0, 0), (0, -table.shape[1] % GROUP)))
