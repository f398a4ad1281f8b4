"""EAGLE's head: one decoder layer continues the target's last hidden states (Li et al. 2401.15077, section 4.1).

A row joins a token's embedding and the feature before it, and ends with an estimate of the token's own feature, of
which the target's output head says what follows. docs/algorithms/eagle.md has the formulas.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from foredraft.heads.files import HeadConfig
from foredraft.heads.steps import Joined, StepHead, frozen_norm


class EagleStep(Joined):
    def parts(self, carried: Tensor, embedded: Tensor) -> tuple[Tensor, Tensor]:
        return embedded, carried


class EagleHead(StepHead):
    """norm: the weights of the target's final norm. noise: the most that is added to a feature while it is trained, for
    texts of 512 columns, and less the longer they are."""

    def __init__(
        self, config: HeadConfig[Any], vocabulary: Tensor, head: Tensor, norm: Tensor, noise: float = 0.0
    ) -> None:
        super().__init__(config, vocabulary, head, [EagleStep(config.width, config.shape, config.epsilon)])
        self.feature_norm, self.noise = frozen_norm(norm, config.epsilon), noise

    def context(self, hidden: Tensor) -> Tensor:
        """The features: hidden states of the last layer as the final norm leaves them."""
        features: Tensor = self.feature_norm(hidden.squeeze(-2))
        if not (self.training and self.noise):
            return features
        return features + (torch.rand_like(features) - 0.5) * (2 * self.noise * 512 / features.shape[1])

    def said(self, ends: Tensor) -> Tensor:
        return ends
