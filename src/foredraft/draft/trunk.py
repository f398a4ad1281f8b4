"""What stands before a head's own matrices: nothing, or one layer of attention over all that the target thought."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from foredraft.core.protocols import Cache, Vectors
from foredraft.draft.plain_layers import PlainCache, PlainLayers, own_cache


class Trunk(Protocol):
    """Vectors of positions enter one after another, and its caches keep what they hold of them."""

    def open(self) -> Cache: ...

    def run(self, feeds: Sequence[tuple[Cache, Vectors]], *, read: bool) -> Vectors:
        """ONE pass of new vectors, [rows, width] each. [feeds, width]: what became of the last of each, where `read`.
        Raises ValueError for a cache of another trunk."""


@dataclass
class Counted:
    """A cache that holds nothing but how many rows were fed."""

    length: int = 0
    nbytes: int = 0

    def keep(self, rows: Sequence[int]) -> None:
        """Heads keep their rows by themselves."""

    def trim(self, length: int) -> None:
        if not 0 <= length <= self.length:
            raise ValueError(f"a cache of {self.length} rows cannot be trimmed to {length}")
        self.length = length

    def fork(self) -> Counted:
        return Counted(self.length)

    def close(self) -> None:
        self.length = 0


class Passing:
    """The last vector, as it is."""

    def open(self) -> Counted:
        return Counted()

    def run(self, feeds: Sequence[tuple[Cache, Vectors]], *, read: bool) -> Vectors:
        for cache, vectors in feeds:
            if not isinstance(cache, Counted):
                raise ValueError("a head scores its own caches only: open one with its open()")
            cache.length += len(vectors)
        return np.stack([vectors[-1] for _, vectors in feeds]) if read else np.empty((0, 0))


class PlainTrunk:
    """One layer in numpy, row by row: the specification of the native one. at: what its tensors are named behind."""

    def __init__(self, layers: PlainLayers, at: str) -> None:
        self._layers, self._at = layers, at

    def open(self) -> PlainCache:
        return PlainCache(1)

    def run(self, feeds: Sequence[tuple[Cache, Vectors]], *, read: bool) -> Vectors:
        found = []
        for cache, vectors in feeds:
            (seen,) = own_cache(cache).rows
            rows = [self._layers.layer(vector, self._at, seen, len(seen)) for vector in vectors]
            found.append(rows[-1])
        return np.stack(found) if read else np.empty((0, 0))
