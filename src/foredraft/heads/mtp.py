"""Parallel heads for multi-token prediction (Gloeckle et al. 2404.19737) in torch: what is trained.

Head k is one layer on the target's hidden states before its own last layer, and predicts the token k + 1 places after
the one that the target predicts there. docs/algorithms/mtp.md has the formulas, and what differs from the paper.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from foredraft.heads.batch import Batch
from foredraft.heads.files import HeadConfig
from foredraft.heads.layers import Layer, load_named, named, turns, visible
from foredraft.heads.residual import beginning
from foredraft.heads.shapes.mtp import MTPShape
from foredraft.heads.shapes.residual import RANKS


class MTPHead(nn.Module):  # type: ignore[misc]
    """As `MedusaHead`. The norm is shared by all heads."""

    def __init__(self, config: HeadConfig[MTPShape], vocabulary: Tensor, head: Tensor, norm: Tensor) -> None:
        super().__init__()
        self.config, d = config, config.width
        self.register_buffer("vocabulary", vocabulary.to(torch.int32))
        self.register_buffer("head", head, persistent=False)
        self.register_buffer("accuracies", torch.zeros(config.block, RANKS))
        self.layers = nn.ModuleList(Layer(d, config.shape, config.epsilon) for _ in range(config.block))
        self.norm = beginning(norm, config.epsilon)

    def begin_as(self, tensors: dict[str, Tensor] | None) -> None:
        """Every head begins as this layer, or for None as one that adds nothing."""
        for layer in self.layers:
            if tensors is not None:
                layer.load_state_dict(tensors)
            else:
                nn.init.zeros_(layer.attention.out.weight)
                nn.init.zeros_(layer.down.weight)

    def forward(self, batch: Batch) -> Iterator[Tensor]:
        """What each head makes of the positions before column t, which predicts column t + 1 + s."""
        x = F.pad(batch.hidden[:, :-1, 0], (0, 0, 1, 0)).to(self.norm.weight.dtype)
        angles, seen = turns(batch.positions, self.config.shape), visible(batch.real)
        for layer in self.layers:  # one after another: each can be learnt from before the next is computed
            rows: Tensor = self.norm(layer(x, angles, seen)[:, batch.start :])
            yield rows

    def logits(self, rows: Tensor, step: int, previous: Tensor | None = None) -> Tensor:
        """No head knows what was drafted before."""
        return F.linear(rows.to(self.head.dtype), self.head)

    def tensors(self) -> dict[str, Tensor]:
        return named(self)

    def load(self, tensors: dict[str, Tensor]) -> None:
        load_named(self, tensors)
