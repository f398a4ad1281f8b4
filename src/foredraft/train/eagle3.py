"""The recipe of EAGLE-3 (Li et al. 2503.01840): training-time test, and no loss of features.

Every step reads where the one before ended, as drafting does. The loss of step s is the cross entropy of the target's
law over the head's vocabulary, weighed by 0.8^s; where the target's likeliest token is none of these nothing counts.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional as F

from foredraft.heads.eagle3 import Eagle3Head
from foredraft.heads.shapes.steps import Eagle3Shape
from foredraft.train.corpus import Text
from foredraft.train.processes import Total, itself
from foredraft.train.recipe import HeadRecipe, Layered, Reading, layers_of
from foredraft.train.taps import spread
from foredraft.train.target import TorchTarget


@dataclass(frozen=True, kw_only=True)
class Settings(Layered):
    """taps: the third layer, the middle and the third last by default. block: steps that are unrolled. hidden: 0 for
    twice the target's width."""

    block: int = 7
    hard: float = 0.0


class Eagle3Recipe(HeadRecipe):
    method = "eagle3"

    def __init__(self, target: TorchTarget, texts: Sequence[Text], settings: Settings, seed: int = 0) -> None:
        taps = spread(target.about.layers)
        shape = Eagle3Shape(**layers_of(target, settings.hidden, settings.heads))
        super().__init__(target, texts, settings, taps, shape, seed)

    def build(self, vocabulary: Tensor, rows: Tensor) -> Eagle3Head:
        return Eagle3Head(self.config, vocabulary, rows)

    def losses(self, texts: Sequence[Text], total: Total = itself) -> Iterator[Tensor]:
        return self.parts(self.counted(self.read(texts)), total)

    @torch.no_grad()  # type: ignore[untyped-decorator]
    def counted(self, reading: Reading) -> Reading:
        """The target's likeliest tokens for those of the text, which may have been drawn by chance."""
        last, head = reading.columns.last, self.target.head
        likeliest = torch.stack([F.linear(row.to(head.dtype), head).argmax(-1) for row in last])  # a text at a time
        places = self.place[likeliest[:, :-1]]
        return replace(reading, places=torch.cat([reading.places[:, :1], places], dim=1))
