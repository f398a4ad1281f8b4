"""Layers of a llama in numpy, row by row, so that no row depends on its neighbours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from foredraft.core.protocols import Cache
from foredraft.heads.files import HeadConfig
from foredraft.heads.shapes.layers import Layers

Array = NDArray[Any]
Rows = list[list[tuple[Array, Array]]]
"""Layer -> the key and the value of every row, each [heads of keys, size]."""


@dataclass
class PlainCache:
    """Keys and values of the context rows."""

    layers: int
    rows: Rows = field(default_factory=list)

    def __post_init__(self) -> None:
        self.rows = self.rows or [[] for _ in range(self.layers)]

    @property
    def length(self) -> int:
        return len(self.rows[0])

    @property
    def nbytes(self) -> int:
        return sum(key.nbytes + value.nbytes for layer in self.rows for key, value in layer)

    def keep(self, rows: Sequence[int]) -> None:
        """A head keeps its context rows by itself."""

    def trim(self, length: int) -> None:
        if not 0 <= length <= self.length:
            raise ValueError(f"a cache of {self.length} rows cannot be trimmed to {length}")
        self.rows = [layer[:length] for layer in self.rows]

    def fork(self) -> PlainCache:
        return PlainCache(self.layers, [list(layer) for layer in self.rows])

    def close(self) -> None:
        self.rows = [[] for _ in range(self.layers)]


def own_cache(cache: Cache) -> PlainCache:
    """Raises ValueError for a cache of another kind of head."""
    if not isinstance(cache, PlainCache):
        raise ValueError("a head scores its own caches only: open one with its open()")
    return cache


class PlainLayers:
    """The tensors of a head, and what is done with them. shape: of its layers; dtype: what is computed in."""

    def __init__(
        self, config: HeadConfig[Any], shape: Layers, tensors: Mapping[str, Array], dtype: type[Any] = np.float32
    ) -> None:
        self.shape, self.epsilon, self.dtype = shape, config.epsilon, dtype
        self.tensors = {name: values.astype(dtype) for name, values in tensors.items()}
        self._frequencies = shape.rope_base ** (-np.arange(0, shape.head_size, 2) / shape.head_size)

    def layer(
        self, x: Array, at: str, seen: list[tuple[Array, Array]], position: int, read: Array | None = None
    ) -> Array:
        """One row through the layer whose tensors are named behind `at`. seen: the keys and values of every row before
        it; its own are added. read: what its attention reads, where that is not the row, normed."""
        shape, normed = self.shape, self.norm(x, at + "attention_norm") if read is None else read
        query, key, value = (
            self.apply(at + name, normed).reshape(-1, shape.head_size) for name in ("query", "key", "value")
        )
        seen.append((self._turned(key, position), value))
        keys, values = (np.repeat(np.stack(part), shape.heads // shape.kv_heads, axis=1) for part in zip(*seen))
        scores = np.einsum("hs,rhs->hr", self._turned(query, position), keys) / np.sqrt(shape.head_size)
        weights = np.exp(scores - scores.max(axis=1, keepdims=True))
        weights /= weights.sum(axis=1, keepdims=True)
        x = x + self.apply(at + "out", np.einsum("hr,rhs->hs", weights, values).reshape(-1))
        normed = self.norm(x, at + "hidden_norm")
        gate = self.apply(at + "gate", normed)
        found: Array = x + self.apply(at + "down", gate / (1 + np.exp(-gate)) * self.apply(at + "up", normed))
        return found.astype(self.dtype)

    def apply(self, name: str, x: Array) -> Array:
        found: Array = self.tensors[name + ".weight"] @ x
        return found

    def norm(self, x: Array, name: str) -> Array:
        found: Array = self.unit(x) * self.tensors[name + ".weight"]
        return found

    def unit(self, x: Array) -> Array:
        """Every vector of the last axis brought to one size."""
        found: Array = x / np.sqrt((x * x).mean(axis=-1, keepdims=True) + self.epsilon)
        return found

    def _turned(self, heads: Array, position: int) -> Array:
        """[heads, size], component i paired with i + size / 2."""
        angle = position * self._frequencies
        first, second = np.split(heads, 2, axis=1)
        cos, sin = np.cos(angle), np.sin(angle)
        return np.concatenate([first * cos - second * sin, second * cos + first * sin], axis=1).astype(self.dtype)
