"""Medusa heads at work: they read the last hidden state, each drafts one place further, and none sees the others.

Whatever computes them, numpy or the native engine, is handed in; docs/algorithms/medusa.md has the mathematics.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from foredraft.core.heads import Feed
from foredraft.core.law import Ids
from foredraft.core.protocols import Cache, Model
from foredraft.core.rules import Logits
from foredraft.draft.block_tree import Paths
from foredraft.draft.one_pass import OnePass
from foredraft.draft.plain_layers import Array
from foredraft.draft.residual import PlainResiduals, Residuals
from foredraft.draft.trees import PlainTrees, Trees
from foredraft.draft.trunk import Passing
from foredraft.heads.files import HeadConfig
from foredraft.heads.shapes.medusa import MedusaShape


class MedusaHeads(OnePass):
    """accuracies: [heads, ranks], how often each head's likeliest tokens were right."""

    def __init__(
        self,
        config: HeadConfig[MedusaShape],
        tensors: Mapping[str, Array],
        residuals: Residuals,
        trees: Trees,
        dtype: type[Any] = np.float32,
    ) -> None:
        self.taps, self.block, self.epsilon = config.taps, config.block, config.epsilon
        self.says: Ids = tensors["vocabulary"].astype(np.int64)
        self.accuracies = tensors["accuracies"].astype(np.float64)
        self._norm, self._trunk = tensors["norm.weight"].astype(dtype), Passing()
        self._residuals, self._trees = residuals, trees

    def open(self) -> Cache:
        return self._trunk.open()

    def score(self, feeds: Sequence[Feed]) -> list[Logits]:
        levels = max((feed.block for feed in feeds), default=0)
        states = self._trunk.run([(feed.cache, feed.taps) for feed in feeds], read=levels > 0)
        if not levels:
            return [np.empty((0, len(self.says)), np.float32) for _ in feeds]
        said = self._residuals.logits(normed(states, self._norm, self.epsilon), 0, levels)
        return [logits[: feed.block] for logits, feed in zip(said, feeds, strict=True)]

    def bias(self, places: Sequence[int]) -> Logits:
        return np.zeros((len(places), len(self.says)), np.float32)

    def tree(self, logits: Logits, rows: int, depth: int, least: float) -> Paths:
        return self._trees.grow(logits, rows, depth, least)

    def close(self) -> None:
        """Nothing to give back."""


def normed(states: Array, weight: Array, epsilon: float) -> Array:
    """[rows, width], as the target's final norm would."""
    wide = states.astype(weight.dtype)
    found: Array = wide / np.sqrt((wide * wide).mean(axis=-1, keepdims=True) + epsilon).astype(weight.dtype) * weight
    return found


def plain_medusa(
    target: Model, config: HeadConfig[MedusaShape], tensors: Mapping[str, Array], dtype: type[Any] = np.float32
) -> MedusaHeads:
    """In numpy: what every machine can run, and the specification."""
    rows = None if config.shape.own else target.head_rows(tensors["vocabulary"].astype(np.int64).tolist())
    return MedusaHeads(config, tensors, PlainResiduals(tensors, rows, dtype), PlainTrees(), dtype)
