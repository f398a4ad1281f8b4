"""A trained head in numpy: what every machine can run, and the specification of the native one.

The mathematics is docs/algorithms/block_drafter.md's, row by row, so that no row depends on its neighbours.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from foredraft.core.heads import Feed
from foredraft.core.law import Ids
from foredraft.core.protocols import Model
from foredraft.core.rules import Logits
from foredraft.draft.block_tree import best_first
from foredraft.heads.files import HeadConfig

Array = NDArray[Any]
Rows = list[list[tuple[Array, Array]]]
"""Layer -> the key and the value of every row, each [heads of keys, size]."""


@dataclass
class PlainCache:
    """Keys and values of the context rows; `seen` rows were fed last, of which the first ones may be kept."""

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


class PlainHead:
    """dtype: what is computed in; float64 for a reference."""

    def __init__(
        self, target: Model, config: HeadConfig, tensors: Mapping[str, Array], dtype: type[Any] = np.float32
    ) -> None:
        self.taps, self.block, self.config, self.dtype = config.taps, config.block, config, dtype
        self.says: Ids = tensors["vocabulary"].astype(np.int64)
        self._target, self._tensors = target, {name: values.astype(dtype) for name, values in tensors.items()}
        self._head = target.head_rows(self.says.tolist()).astype(dtype)
        half = np.arange(0, config.head_size, 2)
        self._frequencies = config.rope_base ** (-half / config.head_size)

    def open(self) -> PlainCache:
        return PlainCache(self.config.layers)

    def score(self, feeds: Sequence[Feed]) -> list[Logits]:
        return [self._score(feed) for feed in feeds]

    def bias(self, places: Sequence[int]) -> Logits:
        previous = self._tensors["previous.weight"]
        found = [self._apply("bias", previous[place]) for place in places]
        return np.stack(found) if found else np.empty((0, len(self.says)), self.dtype)

    def tree(self, logits: Logits, rows: int, depth: int, least: float) -> tuple[list[int], list[int], list[float]]:
        return best_first(logits, self.bias, rows, depth, least)

    def close(self) -> None:
        """Nothing to give back."""

    def _score(self, feed: Feed) -> Logits:
        cache = feed.cache
        if not isinstance(cache, PlainCache):
            raise ValueError("a head scores its own caches only: open one with its open()")
        width, start = self.config.width, cache.length
        embedded = self._target.embed(feed.tokens)
        parts = np.concatenate([feed.taps, embedded], axis=1).astype(self.dtype).reshape(len(embedded), -1, width)
        fused = [self._apply("fuse", row) for row in self._unit(parts).reshape(len(embedded), -1)]
        inputs = [*fused, *(fused[-1] + offset for offset in self._tensors["offsets"][: max(0, feed.block - 1)])]
        hidden = [self._row(row, cache, start + place) for place, row in enumerate(inputs)]
        cache.trim(start + len(fused))
        if not feed.block:
            return np.empty((0, len(self.says)), self.dtype)
        return np.stack([self._head @ self._norm(row, "norm") for row in hidden[len(fused) - 1 :]])

    def _row(self, x: Array, cache: PlainCache, position: int) -> Array:
        """One row through all layers, seeing every row before it and itself, whose keys and values are added."""
        config = self.config
        for number, seen in enumerate(cache.rows):
            at = f"layers.{number}."
            normed = self._norm(x, at + "attention_norm")
            query, key, value = (
                self._apply(at + name, normed).reshape(-1, config.head_size) for name in ("query", "key", "value")
            )
            seen.append((self._turned(key, position), value))
            keys, values = (np.repeat(np.stack(part), config.heads // config.kv_heads, axis=1) for part in zip(*seen))
            scores = np.einsum("hs,rhs->hr", self._turned(query, position), keys) / np.sqrt(config.head_size)
            weights = np.exp(scores - scores.max(axis=1, keepdims=True))
            weights /= weights.sum(axis=1, keepdims=True)
            x = x + self._apply(at + "out", np.einsum("hr,rhs->hs", weights, values).reshape(-1))
            normed = self._norm(x, at + "hidden_norm")
            gate = self._apply(at + "gate", normed)
            x = x + self._apply(at + "down", gate / (1 + np.exp(-gate)) * self._apply(at + "up", normed))
        return x.astype(self.dtype)

    def _turned(self, heads: Array, position: int) -> Array:
        """[heads, size], component i paired with i + size / 2."""
        angle = position * self._frequencies
        first, second = np.split(heads, 2, axis=1)
        cos, sin = np.cos(angle), np.sin(angle)
        return np.concatenate([first * cos - second * sin, second * cos + first * sin], axis=1).astype(self.dtype)

    def _apply(self, name: str, x: Array) -> Array:
        found: Array = self._tensors[name + ".weight"] @ x
        return found

    def _norm(self, x: Array, name: str) -> Array:
        found: Array = self._unit(x) * self._tensors[name + ".weight"]
        return found

    def _unit(self, x: Array) -> Array:
        found: Array = x / np.sqrt((x * x).mean(axis=-1, keepdims=True) + self.config.epsilon)
        return found
