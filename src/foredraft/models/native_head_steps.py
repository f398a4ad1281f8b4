"""Heads that draft token by token on the native engine: an engine for each layer, whose rows are vectors.

The mathematics is docs/algorithms/eagle.md's, eagle3.md's and mtp_sequential.md's. A pass is a chain behind each of its
caches; matrices, the target's rows of the output head among them, are packed like a model's.
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
    Floats,
    LayerSizes,
    Packing,
    joined,
    own_cache,
    single,
    weights_of,
)
from foredraft.models.quantise import Quantize

EAGLE, EAGLE3, MTP = "eagle", "eagle3", "mtp_sequential"


class Sizes(Protocol):
    """What a head's file says of itself (heads/files.py)."""

    @property
    def method(self) -> str: ...
    @property
    def taps(self) -> tuple[int, ...]: ...
    @property
    def block(self) -> int: ...
    @property
    def epsilon(self) -> float: ...
    @property
    def shape(self) -> LayerSizes: ...


class NativeRows:
    """A head and the target it stands on, which it asks for embeddings."""

    def __init__(
        self,
        target: Model,
        sizes: Sizes,
        tensors: Arrays,
        modules: int,
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
        self.taps, self.block, self.modules, self._method = sizes.taps, sizes.block, modules, sizes.method
        self.says: Ids = tensors["vocabulary"].astype(np.int64)
        self._pool = pool if pool is not None else _native.Pool(threads)
        self._target: Model | None = target
        pack, how = Packing.to(self._pool, quantize), (self._pool, isa, activations)
        try:
            names = [f"layers.{module}." for module in range(modules)]
            entering = 2 * target.about.width if sizes.method == EAGLE3 else 0
            rows = target.head_rows(self.says.tolist())
            weights = weights_of(pack, target, sizes.shape, sizes.epsilon, tensors, names, rows, self.block, entering)
            self._engines = [_native.Engine(weights, [module], *how, activations != "f32") for module in range(modules)]
            if sizes.method == EAGLE3:
                self._context = _native.Join(pack(tensors["fuse.weight"]), [[]], sizes.epsilon, *how)
            else:
                self._context = _native.Join(None, [tensors["feature_norm.weight"].tolist()], sizes.epsilon, *how)
            self._joins = [self._join(pack, tensors, at, sizes.epsilon, how) for at in names]
        except (ValueError, ArithmeticError) as error:
            raise UsageError(f"the native engine does not compute this head ({error}): train another") from error
        self._own = [object() for _ in range(modules)]
        self.trees = _native.BlockTree(len(self.says), self._pool, isa)

    def _join(self, pack: Packing, tensors: Arrays, at: str, epsilon: float, how: tuple[Any, ...]) -> Any:
        """Of an embedding and what a row carries, for a multi-token prediction the other way round."""
        if self._method == EAGLE:
            return _native.Join(pack(tensors[f"{at}join.weight"]), [[], []], epsilon, *how)
        embedding, carried = (tensors[f"{at}{name}.weight"].tolist() for name in ("embedding_norm", "carried_norm"))
        if self._method == EAGLE3:
            return _native.Join(None, [embedding, carried], epsilon, *how)
        return _native.Join(pack(tensors[f"{at}join.weight"]), [carried, embedding], epsilon, *how)

    def open(self, module: int) -> NativeCache:
        self._held()
        return NativeCache(self._engines[module].open(), self._own[module])

    def context(self, taps: Vectors) -> Vectors:
        self._held()
        found: Floats = self._context.rows([single(taps)])
        return found

    def run(self, module: int, feeds: Sequence[Feed], ends: bool) -> tuple[list[Vectors], Logits]:
        """Raises ValueError for caches of another and for vectors of another width."""
        embedded = self._held().embed([token for feed in feeds for token in feed.tokens])
        entered = self._enter(module, single(embedded), joined(feeds))
        asks, begin = [], 0
        for feed in feeds:
            count = len(feed.tokens)
            wanted = (count - 1,) if feed.block else ()
            own = [part[begin : begin + count] for part in entered]
            cache = own_cache(feed.cache, self._own[module])
            asks.append((cache, (), tuple(range(-1, count - 1)), wanted, True, 0, *own))
            begin += count
        _, _, _, logits, hidden = self._engines[module].score(asks, (1,) if ends else ())
        found, begin = list[Vectors](), 0
        for feed in feeds:
            end = begin + len(feed.tokens)
            feed.cache.keep(range(end - begin))
            if ends:
                found.append(hidden[0, begin:end])
            begin = end
        return found, logits

    def _held(self) -> Model:
        """The target, as long as this is open."""
        if self._target is None:
            raise UsageError("this head is closed: make its drafter again")
        return self._target

    def _enter(self, module: int, embedded: Floats, carried: Floats) -> tuple[Floats, ...]:
        """What enters the layer, and where that is something else, what its attention reads."""
        join = self._joins[module]
        if self._method == EAGLE3:
            return carried, join.rows([embedded, carried])
        return (join.rows([embedded, carried] if self._method == EAGLE else [carried, embedded]),)

    def close(self) -> None:
        """Lets go of the weights and of the target."""
        self._engines, self._joins, self._context, self._target = [], [], None, None
