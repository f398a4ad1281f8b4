"""Medusa heads (Cai et al. 2401.10774) in torch: what is trained.

Head k reads the target's last hidden state alone and predicts the token k + 1 places after the one that state predicts.
docs/algorithms/medusa.md has the formulas, and what differs from the paper.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from foredraft.heads.batch import Batch
from foredraft.heads.files import HeadConfig
from foredraft.heads.layers import load_named, named
from foredraft.heads.residual import ResidualHead, beginning
from foredraft.heads.shapes.medusa import MedusaShape
from foredraft.heads.shapes.residual import RANKS


class MedusaHead(nn.Module):  # type: ignore[misc]
    """vocabulary: [tokens] ids of the target that the head may say, ascending. head: the target's rows for them, which
    are neither trained nor stored. norm: [width], that of the target, where the head's own begins."""

    def __init__(self, config: HeadConfig[MedusaShape], vocabulary: Tensor, head: Tensor, norm: Tensor) -> None:
        super().__init__()
        self.config, shape = config, config.shape
        self.register_buffer("vocabulary", vocabulary.to(torch.int32))
        self.register_buffer("head", head, persistent=False)
        self.register_buffer("accuracies", torch.zeros(config.block, RANKS))
        self.norm = beginning(norm, config.epsilon)
        own = head.float() if shape.own else None
        self.heads = nn.ModuleList(
            ResidualHead(config.width, config.width, shape.layers, own) for _ in range(config.block)
        )

    def forward(self, batch: Batch) -> Iterator[Tensor]:
        """What each head makes of the position before column t, which predicts column t + 1 + s."""
        for head in self.heads:  # each from the norm on, so that no graph is shared
            state = F.pad(batch.hidden[:, :-1, 0], (0, 0, 1, 0))[:, batch.start :]
            rows: Tensor = head(self.norm(state.to(self.norm.weight.dtype)))
            yield rows

    def logits(self, rows: Tensor, step: int, previous: Tensor | None = None) -> Tensor:
        """No head knows what was drafted before."""
        found: Tensor = self.heads[step].out(rows)
        return found if self.config.shape.own else F.linear(found.to(self.head.dtype), self.head)

    def tensors(self) -> dict[str, Tensor]:
        return named(self)

    def load(self, tensors: dict[str, Tensor]) -> None:
        load_named(self, tensors)
