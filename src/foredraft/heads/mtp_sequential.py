"""Multi-token prediction one token after another: DeepSeek-V3's modules (2412.19437, section 2.2), or one of them for
all tokens, as in FastMTP (2509.18362).

A module norms the state before and a token's embedding, joins them by a matrix and ends with a layer; embeddings and
output head are the target's. docs/algorithms/mtp_sequential.md has the formulas.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from foredraft.heads.files import HeadConfig
from foredraft.heads.shapes.layers import Layers
from foredraft.heads.steps import Joined, StepHead, frozen_norm


class SequentialStep(Joined):
    def __init__(self, width: int, shape: Layers, epsilon: float) -> None:
        super().__init__(width, shape, epsilon)
        self.embedding_norm, self.carried_norm = nn.RMSNorm(width, epsilon), nn.RMSNorm(width, epsilon)

    def parts(self, carried: Tensor, embedded: Tensor) -> tuple[Tensor, Tensor]:
        return self.carried_norm(carried), self.embedding_norm(embedded)


class SequentialHead(StepHead):
    """norm: the weights of the target's final norm."""

    def __init__(self, config: HeadConfig[Any], vocabulary: Tensor, head: Tensor, norm: Tensor) -> None:
        steps = [SequentialStep(config.width, config.shape, config.epsilon) for _ in range(config.shape.modules)]
        super().__init__(config, vocabulary, head, steps)
        self.feature_norm = frozen_norm(norm, config.epsilon)
        self.norm = nn.RMSNorm(config.width, config.epsilon)

    def context(self, hidden: Tensor) -> Tensor:
        """Hidden states of the last layer as the final norm leaves them."""
        normed: Tensor = self.feature_norm(hidden.squeeze(-2))
        return normed

    def said(self, ends: Tensor) -> Tensor:
        normed: Tensor = self.norm(ends)
        return normed
