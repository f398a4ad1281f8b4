"""The recipe of Medusa heads: cross entropy with the target's next tokens, weighed by 0.8^k (2401.10774, 2.2.1)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from foredraft.heads.medusa import MedusaHead
from foredraft.heads.shapes.medusa import MedusaShape
from foredraft.train.corpus import Text
from foredraft.train.independent import IndependentRecipe
from foredraft.train.recipe import Common
from foredraft.train.target import TorchTarget


@dataclass(frozen=True, kw_only=True)
class Settings(Common):
    """taps: the target's last hidden state. layers: residual blocks of a head. own: whether each head has a projection
    to the vocabulary of its own."""

    layers: int = 1
    own: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        self.at_least(layers=1)


class MedusaRecipe(IndependentRecipe):
    method = "medusa"

    def __init__(self, target: TorchTarget, texts: Sequence[Text], settings: Settings, seed: int = 0) -> None:
        shape = MedusaShape(layers=settings.layers, own=int(settings.own))
        super().__init__(target, texts, settings, (target.about.layers,), shape, seed)

    def build(self, vocabulary: Tensor, rows: Tensor) -> MedusaHead:
        return MedusaHead(self.config, vocabulary, rows, self.target.norm)
