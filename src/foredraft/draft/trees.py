"""Who computes the likeliest trees of a head that has no biases: numpy here, or `foredraft._native.BlockTree`."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from foredraft.core.rules import Logits
from foredraft.draft.block_tree import Paths, best_first
from foredraft.draft.level_tree import Children, plain_children


class Trees(Protocol):
    def grow(self, logits: Logits, rows: int, depth: int, least: float) -> Paths:
        """logits: [levels, places] -> places, parents and scores of the likeliest paths (`draft/block_tree.py`)."""

    def children(self, logits: Logits, count: int) -> Children:
        """The likeliest places of each row, best first, and their log probabilities."""


class PlainTrees:
    """The specification."""

    def grow(self, logits: Logits, rows: int, depth: int, least: float) -> Paths:
        return best_first(logits, lambda places: np.zeros((len(places), 1), logits.dtype), rows, depth, least)

    def children(self, logits: Logits, count: int) -> Children:
        return plain_children(logits, count)
