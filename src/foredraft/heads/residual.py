"""Residual blocks on one vector in torch, of which Medusa (2401.10774) and Hydra (2402.05109) make their heads."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class ResidualHead(nn.Module):  # type: ignore[misc]
    """inputs: of the first block; where they are more than the width, it begins as its first `width` ones, that is, as
    what the target thought. own: [tokens, width] where a projection begins, None for a square matrix, the identity.

    All begin as what the target says of the next token: blocks add nothing yet (Medusa, section 2.2.1).
    """

    def __init__(self, width: int, inputs: int, layers: int, own: Tensor | None) -> None:
        super().__init__()
        self.residual = nn.Linear(inputs, width, bias=False) if inputs != width else None
        if self.residual is not None:
            nn.init.zeros_(self.residual.weight)
            nn.init.eye_(self.residual.weight[:, :width])
        self.blocks = nn.ModuleList(nn.Linear(width if layer else inputs, width, bias=False) for layer in range(layers))
        for block in self.blocks:
            nn.init.zeros_(block.weight)
        self.out = nn.Linear(width, width if own is None else len(own), bias=False)
        with torch.no_grad():
            self.out.weight.copy_(torch.eye(width) if own is None else own)

    def forward(self, x: Tensor) -> Tensor:
        """[…, inputs] -> […, width], before `out`."""
        state = x if self.residual is None else self.residual(x)
        for layer, block in enumerate(self.blocks):
            state = state + F.silu(block(state if layer else x))
        return state


def beginning(norm: Tensor, epsilon: float) -> nn.RMSNorm:
    """A norm that begins as the target's final one. norm: [width]."""
    made = nn.RMSNorm(len(norm), epsilon)
    with torch.no_grad():
        made.weight.copy_(norm)
    return made
