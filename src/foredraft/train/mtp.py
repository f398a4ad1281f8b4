"""The recipe of parallel heads for multi-token prediction (2404.19737), for a target that is frozen.

Heads weigh the same, and each is learnt from before the next is computed, so that the logits and the graph of one head
are all that is held (section 2 there).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from foredraft.heads.mtp import MTPHead
from foredraft.heads.shapes.mtp import MTPShape
from foredraft.train.corpus import Text
from foredraft.train.independent import IndependentRecipe
from foredraft.train.recipe import Layered, layers_of
from foredraft.train.target import TorchTarget


@dataclass(frozen=True, kw_only=True)
class Settings(Layered):
    """taps: what enters the target's last layer. hidden: 0 for as wide as that of the target's own layers. heads: those
    of the target by default."""

    decay: float = 1.0


class MTPRecipe(IndependentRecipe):
    method = "mtp"

    def __init__(self, target: TorchTarget, texts: Sequence[Text], settings: Settings, seed: int = 0) -> None:
        hidden = settings.hidden or target.model.config.intermediate_size
        shape = MTPShape(**layers_of(target, hidden, settings.heads))
        super().__init__(target, texts, settings, (target.about.layers - 1,), shape, seed)

    def build(self, vocabulary: Tensor, rows: Tensor) -> MTPHead:
        head, last = MTPHead(self.config, vocabulary, rows, self.target.norm), self.target.last_layer()
        own = {name: value.shape for name, value in head.layers[0].state_dict().items()}
        same = last is not None and own == {name: value.shape for name, value in last.items()}
        head.begin_as(last if same else None)
        return head
