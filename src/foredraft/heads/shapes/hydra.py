"""The shape of Hydra heads (docs/algorithms/hydra.md)."""

from __future__ import annotations

from dataclasses import dataclass

from foredraft.heads.shapes.layers import Layers, one_place, positive
from foredraft.heads.shapes.residual import residual


@dataclass(frozen=True, kw_only=True)
class HydraShape(Layers):
    """layers: residual blocks of a head. prefix: layers of attention before all heads, 0 or 1, as in Hydra++; their
    sizes mean nothing without one. own: as for Medusa."""

    layers: int
    prefix: int = 0
    own: int = 0

    def __post_init__(self) -> None:
        positive(self, "prefix", "own")
        if self.prefix > 1:
            raise ValueError("its prefix is one layer at most")

    def tensors(self, width: int, taps: int, block: int, vocabulary: int) -> dict[str, tuple[int, ...]]:
        one_place(taps)
        found: dict[str, tuple[int, ...]] = {"norm.weight": (width,)}
        if self.prefix:
            found |= self.layer("prefix.", width)
        for head in range(block):
            inputs = (head + 2) * width  # what the target thought, the root, and so many drafted tokens
            found |= residual(f"heads.{head}.", inputs, width, self.layers, vocabulary if self.own else 0)
        return found
