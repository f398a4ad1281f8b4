"""The shape of Medusa heads (docs/algorithms/medusa.md)."""

from __future__ import annotations

from dataclasses import dataclass

from foredraft.heads.shapes.layers import one_place, positive
from foredraft.heads.shapes.residual import RANKS, residual


@dataclass(frozen=True, kw_only=True)
class MedusaShape:
    """layers: residual blocks of a head. own: 1 where each head has a projection to the vocabulary of its own, as in
    the paper; 0 where a square matrix stands before the target's rows, which are not stored."""

    layers: int
    own: int = 0

    def __post_init__(self) -> None:
        positive(self, "own")

    def tensors(self, width: int, taps: int, block: int, vocabulary: int) -> dict[str, tuple[int, ...]]:
        one_place(taps)
        found: dict[str, tuple[int, ...]] = {"norm.weight": (width,), "accuracies": (block, RANKS)}
        for head in range(block):
            found |= residual(f"heads.{head}.", width, width, self.layers, vocabulary if self.own else 0)
        return found
