"""EAGLE-3's head: layers of the target fused, attention over embedding and state side by side (Li et al. 2503.01840).

No row is held to the target's features: what it ends with serves the next one, and that is all it is trained for.
docs/algorithms/eagle3.md has the formulas.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from foredraft.heads.files import HeadConfig
from foredraft.heads.shapes.layers import Layers
from foredraft.heads.steps import Step, StepHead


class Eagle3Step(Step):
    def __init__(self, width: int, shape: Layers, epsilon: float) -> None:
        super().__init__(width, shape, epsilon)
        del self.attention_norm  # both halves of what attention reads have their own
        self.embedding_norm, self.carried_norm = nn.RMSNorm(width, epsilon), nn.RMSNorm(width, epsilon)
        for name in ("query", "key", "value"):
            narrow = getattr(self.attention, name)
            setattr(self.attention, name, nn.Linear(2 * width, narrow.out_features, bias=False))

    def enter(self, carried: Tensor, embedded: Tensor) -> tuple[Tensor, Tensor]:
        read = torch.cat([self.embedding_norm(embedded), self.carried_norm(carried)], dim=-1)
        return carried, read


class Eagle3Head(StepHead):
    def __init__(self, config: HeadConfig[Any], vocabulary: Tensor, head: Tensor) -> None:
        d = config.width
        super().__init__(config, vocabulary, head, [Eagle3Step(d, config.shape, config.epsilon)])
        self.fuse = nn.Linear(len(config.taps) * d, d, bias=False)
        self.norm = nn.RMSNorm(d, config.epsilon)

    def context(self, hidden: Tensor) -> Tensor:
        fused: Tensor = self.fuse(hidden.flatten(-2))
        return fused

    def said(self, ends: Tensor) -> Tensor:
        normed: Tensor = self.norm(ends)
        return normed
