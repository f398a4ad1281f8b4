"""The recipe of distilled draft models: a small model learns the laws of its target on what the target says.

Off-policy on the target's own responses (DistillSpec, 2310.08461); on-policy, in a share of the batches, on what the
student itself says to the same prompts, without a gradient through its sampling (GKD, 2306.13649). The loss of a
position is a divergence between the two whole laws (`train/divergences.py`), mixed by `hard` with the cross entropy of
the target's likeliest token, which is what counts at temperature 0. Most of a small model is its vocabulary, so laws
may be compared over the commonest tokens, those of the batch and a sample of the others (after Jean et al., 1412.2007).
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from foredraft.core.errors import UsageError
from foredraft.train.compared import Compared, likeliest, summed_loss
from foredraft.train.corpus import Text, common
from foredraft.train.divergences import divergence
from foredraft.train.fused_loss import Head, fused_loss
from foredraft.train.processes import Total, itself
from foredraft.train.student import make_student
from foredraft.train.student_file import About, check_written, write_student
from foredraft.train.student_pass import accepted, counted, overlap, said_by, states_of
from foredraft.train.target import Rows, TorchTarget

RARE = 0.2  # of the commonest tokens: how many others are drawn for a batch


@dataclass(frozen=True)
class Settings:
    """student: as it was written. divergence: by name. on_policy: share of the batches that the student writes itself.
    hard: share of the loss that looks at the target's likeliest token alone. block: tokens of the chains by which a
    run is judged. vocabulary: tokens over which laws are compared in every batch, the commonest, 0 for all; beside them
    the batch's own, and a share `RARE` as many that are drawn and stand for the others."""

    student: str
    divergence: str = "forward-kl"
    on_policy: float = 0.0
    hard: float = 0.0
    block: int = 4
    vocabulary: int = 0

    def __post_init__(self) -> None:
        divergence(self.divergence)
        if not 0 <= self.on_policy <= 1 or not 0 <= self.hard <= 1:
            raise UsageError("on-policy and hard are shares, from 0 to 1")
        if self.block < 1:
            raise UsageError(f"block must be at least 1, not {self.block}")
        if self.vocabulary < 0:
            raise UsageError(f"vocabulary must be at least 1, or 0 for all tokens, not {self.vocabulary}")


class DistillRecipe:
    """head: the student."""

    method = "distill"

    def __init__(self, target: TorchTarget, student: Any, settings: Settings, common: Sequence[int] = ()) -> None:
        """common: the tokens that are compared in every batch; none for all."""
        self.target, self.head, self.settings = target, student, settings
        self._common = torch.tensor(common, dtype=torch.long)
        self._divergence = divergence(settings.divergence)
        self._about = About(target.about, settings, self.parameters)

    @property
    def parameters(self) -> int:
        return sum(one.numel() for one in self.head.parameters())

    @property
    def drafts(self) -> bool:
        """As it begins it is no drafter to go back to."""
        return False

    @property
    def says(self) -> range:
        """It can say every token."""
        return range(self.target.head.shape[0])

    def groups(self) -> list[dict[str, Any]]:
        return [{"params": list(self.head.parameters()), "scale": 1.0}]

    def describe(self, provenance: dict[str, Any]) -> About:
        return replace(self._about, provenance=provenance)

    def noted(self, batches: Sequence[Sequence[Text]]) -> dict[str, float]:
        """How often a draft drawn at temperature 1 would be accepted, which divergences aim at."""
        found = [self.overlap(batch) for batch in batches]
        return {"overlap": round(sum(total for total, _ in found) / max(sum(count for _, count in found), 1), 4)}

    def settle(self, batches: Sequence[Sequence[Text]]) -> None:
        """A model keeps nothing but its weights."""

    def write(self, out: Path, provenance: dict[str, Any]) -> None:
        write_student(self.head, self.target.source, out, {"distilled": self.describe(provenance).json()})

    def losses(self, texts: Sequence[Text], total: Total = itself) -> Iterator[Tensor]:
        """The mean over the positions whose next token is a response's, a few positions at a time."""
        chance = random.Random(repr([text.id for text in texts]))
        own_words = chance.random() < self.settings.on_policy and any(text.response for text in texts)
        if own_words:
            texts = said_by(self.head, self.target, texts, chance.getrandbits(31))
        rows = self.target.rows(texts)
        compared, counts = self._compared(rows, chance), counted(rows)
        head, ours, bias = self.target.head, self.head.lm_head.weight, self.head.lm_head.bias
        if compared is not None:
            head, ours = head[compared.tokens], ours[compared.tokens]
            bias = None if bias is None else bias[compared.tokens]
        known = self.target.last(rows, () if own_words else texts)[counts]
        likely = likeliest(known, self.target.head, compared) if self.settings.hard else None
        loss = summed_loss(self._divergence, self.settings.hard, compared, likely)
        summed = fused_loss(Head(known, head), Head(states_of(self.head, rows)[counts], ours, bias), loss)
        yield summed / total(counts.sum()).clamp(min=1)

    def _compared(self, rows: Rows, chance: random.Random) -> Compared | None:
        """For a batch; None for all tokens."""
        if not len(self._common):
            return None
        certain = torch.cat([self._common, rows.ids[rows.real].cpu()]).unique()
        return Compared.some(certain, len(self.says), round(RARE * len(self._common)), chance).to(self.target.device)

    def accepted(self, texts: Sequence[Text]) -> tuple[int, int, np.ndarray]:
        """Tokens emitted, passes, and accepted drafts by position, of greedy chains on the responses as they stand."""
        found: tuple[int, int, np.ndarray] = accepted(self.head, self.target.rows(texts), self.settings.block)
        return found

    def overlap(self, texts: Sequence[Text]) -> tuple[float, int]:
        """The summed probability that a sampled draft is accepted at temperature 1, and over how many positions."""
        rows = self.target.rows(texts)
        found: tuple[float, int] = overlap(self.head, rows, self.target.last(rows, texts), self.target.head)
        return found


def distilled(target: TorchTarget, texts: Sequence[Text], settings: Settings, seed: int = 0) -> DistillRecipe:
    """The recipe for the student that the settings name."""
    student = make_student(target, settings.student, seed)
    check_written(student, target.source)
    return DistillRecipe(target, student, settings, common(texts, settings.vocabulary) if settings.vocabulary else ())
