"""The recipe of block heads. The loss mixes both kinds, and later steps weigh less as in EAGLE-3 (2503.01840)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from foredraft.heads.block import BlockHead
from foredraft.heads.shapes.block import BlockShape
from foredraft.train.corpus import Text
from foredraft.train.recipe import HeadRecipe, Layered, layers_of
from foredraft.train.taps import spread
from foredraft.train.target import TorchTarget


@dataclass(frozen=True, kw_only=True)
class Settings(Layered):
    """taps: three spread over the target as in EAGLE-3 by default. hidden: 0 for twice the target's width. heads: those
    of the target by default."""

    block: int = 6
    hard: float = 0.5
    layers: int = 1
    rank: int = 64

    def __post_init__(self) -> None:
        super().__post_init__()
        self.at_least(layers=1, block=2, rank=1)


class BlockRecipe(HeadRecipe):
    method = "block"

    def __init__(self, target: TorchTarget, texts: Sequence[Text], settings: Settings, seed: int = 0) -> None:
        shape = BlockShape(
            layers=settings.layers, rank=settings.rank, **layers_of(target, settings.hidden, settings.heads)
        )
        taps = spread(target.about.layers)
        super().__init__(target, texts, settings, taps, shape, seed)

    def build(self, vocabulary: Tensor, rows: Tensor) -> BlockHead:
        return BlockHead(self.config, vocabulary, rows)
