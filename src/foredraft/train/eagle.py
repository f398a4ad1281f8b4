"""The recipe of EAGLE (Li et al. 2401.15077, section 4.2): features are regressed, and what the head says of them.

The loss is that of one step, SmoothL1 of the feature and a tenth of the cross entropy of the target's law; noise on the
features that are read stands for the errors that drafting feeds back.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from foredraft.heads.eagle import EagleHead
from foredraft.heads.shapes.steps import EagleShape
from foredraft.train.corpus import Text
from foredraft.train.cross_entropy import cross_entropy
from foredraft.train.processes import Total, itself
from foredraft.train.recipe import HeadRecipe, Layered, layers_of
from foredraft.train.target import TorchTarget


@dataclass(frozen=True, kw_only=True)
class Settings(Layered):
    """block: tokens a chain drafts where training is judged; it learns one. hidden: 0 for twice the target's width.
    noise: the most that is added to a feature. law: what the cross entropy weighs beside the features."""

    block: int = 5
    noise: float = 0.1
    law: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        self.at_least(noise=0, law=0)


class EagleRecipe(HeadRecipe):
    method = "eagle"
    settings: Settings

    def __init__(self, target: TorchTarget, texts: Sequence[Text], settings: Settings, seed: int = 0) -> None:
        shape = EagleShape(**layers_of(target, settings.hidden, settings.heads))
        super().__init__(target, texts, settings, (target.about.layers,), shape, seed)

    def build(self, vocabulary: Tensor, rows: Tensor) -> EagleHead:
        return EagleHead(self.config, vocabulary, rows, self.target.final_norm, self.settings.noise)

    def losses(self, texts: Sequence[Text], total: Total = itself) -> Iterator[Tensor]:
        """One: only the first step is learnt."""
        reading = self.read(texts)
        wanted, said = reading.wanted(0)
        start = reading.batch.start
        real = reading.columns.real[:, start + 1 :].clone()  # the row at a column stands for the feature there
        features_count, laws_count = total(torch.stack([real.sum(), said.sum()])).tolist()
        if not features_count:
            yield sum(one.sum() for one in self.head.parameters()) * 0.0  # which can be learnt from
            return
        ends = next(self.head(reading.batch))[:, :-1]
        features = reading.columns.last[:, start:-1].to(ends.dtype, copy=True)
        off = F.smooth_l1_loss(ends[real].float(), features[real].float(), reduction="sum")
        loss = off / (features_count * self.config.width)
        if laws_count:
            with torch.no_grad():
                laws = self.head.logits(features[said], 0).float().softmax(-1)
            law = cross_entropy(self.head.logits(ends[said], 0), wanted[said], laws, hard=0.0)
            loss = loss + self.settings.law * law / laws_count
        yield loss
