"""The shape of parallel heads for multi-token prediction (docs/algorithms/mtp.md)."""

from __future__ import annotations

from dataclasses import dataclass

from foredraft.heads.shapes.layers import Layers, one_place
from foredraft.heads.shapes.residual import RANKS


@dataclass(frozen=True, kw_only=True)
class MTPShape(Layers):
    """Every head is one layer of these sizes; all share a norm."""

    def tensors(self, width: int, taps: int, block: int, vocabulary: int) -> dict[str, tuple[int, ...]]:
        one_place(taps)
        found: dict[str, tuple[int, ...]] = {"norm.weight": (width,), "accuracies": (block, RANKS)}
        for head in range(block):
            found |= self.layer(f"layers.{head}.", width)
        return found
