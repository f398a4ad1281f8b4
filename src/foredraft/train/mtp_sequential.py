"""The recipe of sequential multi-token prediction: cross entropies of the tokens ahead, the target frozen.

A module for every token (DeepSeek-V3, 2412.19437, section 2.2): the mean over the modules. One for all (FastMTP,
2509.18362): the k-th token weighs 0.6^(k - 1).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from torch import Tensor

from foredraft.core.errors import UsageError
from foredraft.heads.mtp_sequential import SequentialHead
from foredraft.heads.shapes.steps import SequentialShape
from foredraft.train.corpus import Text
from foredraft.train.recipe import HeadRecipe, Layered, layers_of
from foredraft.train.target import TorchTarget

RECURSIVE, APART = 0.6, 1.0


@dataclass(frozen=True, kw_only=True)
class Settings(Layered):
    """modules: one for all tokens, or as many as `block`. decay: 0 for that of the paper. hidden: 0 for twice the
    target's width."""

    block: int = 4
    decay: float = 0.0
    modules: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.modules not in (1, self.block):
            raise UsageError(
                f"modules of a head are 1, for all tokens, or {self.block}, one for each, not {self.modules}"
            )

    @property
    def weighed(self) -> Settings:
        return replace(self, decay=self.decay or (RECURSIVE if self.modules == 1 else APART))


class SequentialRecipe(HeadRecipe):
    method = "mtp_sequential"

    def __init__(self, target: TorchTarget, texts: Sequence[Text], settings: Settings, seed: int = 0) -> None:
        shape = SequentialShape(modules=settings.modules, **layers_of(target, settings.hidden, settings.heads))
        super().__init__(target, texts, settings.weighed, (target.about.layers,), shape, seed)

    def build(self, vocabulary: Tensor, rows: Tensor) -> SequentialHead:
        return SequentialHead(self.config, vocabulary, rows, self.target.final_norm)
