"""The recipe of Hydra heads, and of Hydra++ (2402.05109): deeper heads, a prefix layer, the target's laws as teacher.

In training the drafted tokens that a head reads are those of the text: drafts are read on only where they were right.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from foredraft.heads.hydra import HydraHead
from foredraft.heads.shapes.hydra import HydraShape
from foredraft.train.corpus import Text
from foredraft.train.recipe import HeadRecipe, Layered, layers_of
from foredraft.train.target import TorchTarget

PLUS = {"layers": 4, "prefix": 1, "hard": 0.0}
"""What makes Hydra++ of it: blocks of a head, the prefix layer, and how much of the loss looks at the text alone."""


@dataclass(frozen=True, kw_only=True)
class Settings(Layered):
    """taps: the target's last hidden state. layers: residual blocks of a head. prefix: layers of attention before them,
    0 or 1. hidden: of the prefix layer, 0 for twice the target's width. heads: its heads, the target's by default. own:
    whether each head has a projection of its own."""

    layers: int = 1
    prefix: int = 0
    own: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        self.at_least(layers=1, prefix=0)


class HydraRecipe(HeadRecipe):
    method = "hydra"

    def __init__(self, target: TorchTarget, texts: Sequence[Text], settings: Settings, seed: int = 0) -> None:
        layers = layers_of(target, settings.hidden, settings.heads)
        shape = HydraShape(layers=settings.layers, prefix=settings.prefix, own=int(settings.own), **layers)
        super().__init__(target, texts, settings, (target.about.layers,), shape, seed)

    def build(self, vocabulary: Tensor, rows: Tensor) -> HydraHead:
        return HydraHead(self.config, vocabulary, rows, self.target.norm)
