"""The shape of a block head (docs/algorithms/block_drafter.md)."""

from __future__ import annotations

from dataclasses import dataclass

from foredraft.heads.shapes.layers import Layers


@dataclass(frozen=True, kw_only=True)
class BlockShape(Layers):
    """layers: of its own. rank: of the table of pairs of tokens."""

    layers: int
    rank: int

    def tensors(self, width: int, taps: int, block: int, vocabulary: int) -> dict[str, tuple[int, ...]]:
        found: dict[str, tuple[int, ...]] = {
            "fuse.weight": (width, (taps + 1) * width),
            "offsets": (block - 1, width),
            "norm.weight": (width,),
            "previous.weight": (vocabulary, self.rank),
            "bias.weight": (vocabulary, self.rank),
        }
        for layer in range(self.layers):
            found |= self.layer(f"layers.{layer}.", width)
        return found
