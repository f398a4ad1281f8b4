"""One layer of a trained head on the native engine, whose rows are the target's hidden states."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from foredraft import _native
from foredraft.core.protocols import Cache, Vectors
from foredraft.models.native import Activations, NativeCache
from foredraft.models.native_head_parts import own_cache, single


class NativeTrunk:
    """The native twin of `draft/trunk.py`'s PlainTrunk. weights: an engine's. layer: which of them."""

    def __init__(self, weights: Any, layer: int, pool: Any, isa: str, activations: Activations) -> None:
        self._engine = _native.Engine(weights, [layer], pool, isa, activations, activations != "f32")
        self._own = object()

    def open(self) -> NativeCache:
        return NativeCache(self._engine.open(), self._own)

    def run(self, feeds: Sequence[tuple[Cache, Vectors]], *, read: bool) -> Vectors:
        asks = [
            (own_cache(cache, self._own), (), tuple(range(-1, len(rows) - 1)), (), True, 0, single(rows))
            for cache, rows in feeds
        ]
        taps = self._engine.score(asks, (1,) if read else ())[4]
        for cache, rows in feeds:
            cache.keep(range(len(rows)))
        ends = np.cumsum([len(rows) for _, rows in feeds]) - 1
        found: Vectors = taps[0][ends] if read else np.empty((0, 0), np.float32)
        return found

    def project(self, states: Vectors) -> Vectors:
        """The norm and the head of the weights: [rows, width] -> [rows, places]."""
        found: Vectors = self._engine.head(single(states))
        return found
