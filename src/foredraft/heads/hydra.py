"""Hydra heads (Ankner et al. 2402.05109) in torch: what is trained.

Head k reads the target's last hidden state, or what a layer of attention makes of all of them (Hydra++), and the
embeddings of the root and of the k tokens drafted after it. docs/algorithms/hydra.md has the formulas, and what differs
from the paper.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from foredraft.heads.batch import Batch
from foredraft.heads.files import HeadConfig
from foredraft.heads.layers import Layer, load_named, named, turns, visible
from foredraft.heads.residual import ResidualHead, beginning
from foredraft.heads.shapes.hydra import HydraShape


class HydraHead(nn.Module):  # type: ignore[misc]
    """As `MedusaHead`."""

    def __init__(self, config: HeadConfig[HydraShape], vocabulary: Tensor, head: Tensor, norm: Tensor) -> None:
        super().__init__()
        self.config, shape, d = config, config.shape, config.width
        self.register_buffer("vocabulary", vocabulary.to(torch.int32))
        self.register_buffer("head", head, persistent=False)
        self.norm = beginning(norm, config.epsilon)
        self.prefix = Layer(d, shape, config.epsilon) if shape.prefix else None
        if self.prefix is not None:  # begins as nothing but the target's own state
            nn.init.zeros_(self.prefix.attention.out.weight)
            nn.init.zeros_(self.prefix.down.weight)
        own = head.float() if shape.own else None
        self.heads = nn.ModuleList(ResidualHead(d, (step + 2) * d, shape.layers, own) for step in range(config.block))

    def forward(self, batch: Batch) -> Iterator[Tensor]:
        """What each head makes of the position before column t and of the tokens at t … t + s."""
        kind = self.norm.weight.dtype
        x = F.pad(batch.hidden[:, :-1, 0], (0, 0, 1, 0)).to(kind)
        if self.prefix is not None:
            x = self.prefix(x, turns(batch.positions, self.config.shape), visible(batch.real))
        embedded = F.rms_norm(batch.embedded.to(kind), (self.config.width,), eps=self.config.epsilon)[:, batch.start :]
        parts = [self.norm(x[:, batch.start :])]
        for step, head in enumerate(self.heads):
            parts.append(F.pad(embedded, (0, 0, 0, step))[:, step:])
            rows: Tensor = head(torch.cat(parts, dim=-1))
            yield rows

    def logits(self, rows: Tensor, step: int, previous: Tensor | None = None) -> Tensor:
        """What was drafted before is in the rows."""
        found: Tensor = self.heads[step].out(rows)
        return found if self.config.shape.own else F.linear(found.to(self.head.dtype), self.head)

    def tensors(self) -> dict[str, Tensor]:
        return named(self)

    def load(self, tensors: dict[str, Tensor]) -> None:
        load_named(self, tensors)
