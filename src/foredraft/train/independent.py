"""What recipes of independent heads have in common: how often each head's likeliest tokens were right.

A head that knows nothing of what was drafted before it is right or wrong on its own, so that the chance of a node is
the product of its ranks' accuracies (Medusa 2401.10774, section 2.3.3).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from foredraft.heads.shapes.residual import RANKS
from foredraft.train.corpus import Text
from foredraft.train.recipe import HeadRecipe


class IndependentRecipe(HeadRecipe):
    apart = True

    @torch.no_grad()  # type: ignore[untyped-decorator]
    def settle(self, batches: Sequence[Sequence[Text]]) -> None:
        """Measures the accuracies, which the head keeps: of every place of held-out responses, those counted too that
        the head cannot say."""
        hits = torch.zeros(self.config.block, RANKS)
        counts = torch.zeros(self.config.block, 1)
        for texts in batches:
            reading = self.read(texts)
            for step, rows in zip(range(min(self.config.block, reading.steps)), self.head(reading.batch)):
                wanted, _ = reading.wanted(step)
                real = reading.columns.real[:, -wanted.shape[1] :]
                counts[step] += real.sum().cpu()
                hits[step] += self._hits(step, rows[:, : wanted.shape[1]], wanted, real)
        self.head.accuracies.copy_(hits / counts.clamp(min=1))

    def _hits(self, step: int, rows: Tensor, wanted: Tensor, real: Tensor) -> Tensor:
        """[RANKS]: how often the token was at each rank."""
        hits = torch.zeros(RANKS)
        for row, own, counts in zip(rows, wanted, real):
            logits = self.head.logits(row[counts], step).float()
            best = logits.topk(min(RANKS, logits.shape[-1]), dim=-1).indices
            hits[: best.shape[-1]] += (best == own[counts, None]).sum(0).cpu()
        return hits
