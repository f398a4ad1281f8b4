"""The recipe of distilled draft models: a small model learns the laws of its target on what the target says.

Off-policy on the target's own responses (DistillSpec, 2310.08461); on-policy, in a share of the batches, on what the
student itself says to the same prompts, without a gradient through its sampling (GKD, 2306.13649). The loss of a
position is a divergence between the two whole laws (`train/divergences.py`), mixed by `hard` with the cross entropy of
the target's likeliest token, which is what counts at temperature 0. Most of a small model is its vocabulary, so laws
may be compared over the commonest tokens, those of the batch and a sample of the others (after Jean et al., 1412.2007).
"""

from __future__ import annotations

import json
import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from foredraft.core.errors import UsageError
from foredraft.heads.files import Target
from foredraft.train.corpus import Text, common
from foredraft.train.divergences import divergence, overlap
from foredraft.train.fused_loss import ROWS, Head, Loss, fused_loss
from foredraft.train.processes import Total, itself
from foredraft.train.recipe import chains
from foredraft.train.student import make_student
from foredraft.train.student_file import check_written, write_student
from foredraft.train.target import Rows, TorchTarget

NOWHERE = -100  # of a token that is not compared
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


@dataclass(frozen=True)
class Compared:
    """Tokens over which laws are compared, ascending, and what is added to their logits: the log of how many tokens
    each stands for. Where a law has much on one rare token, that must be one of the certain ones, or it is missed."""

    tokens: Tensor
    stands_for: Tensor

    @staticmethod
    def some(certain: Tensor, size: int, count: int, chance: random.Random) -> Compared:
        """The certain ones and so many of the others, if there are, of a vocabulary of `size`."""
        rest = torch.ones(size, dtype=torch.bool)
        rest[certain] = False
        others = rest.nonzero()[:, 0]
        count = min(count, len(others))
        drawn = others[torch.tensor(chance.sample(range(len(others)), count), dtype=torch.long)]
        stands_for = torch.zeros(size)
        stands_for[drawn] = math.log(len(others) / count) if count else 0.0
        tokens = torch.cat([certain, drawn]).sort().values
        return Compared(tokens, stands_for[tokens])

    def to(self, device: torch.device) -> Compared:
        return Compared(self.tokens.to(device), self.stands_for.to(device))


@dataclass(frozen=True)
class About:
    """What is kept beside a student."""

    target: Target
    settings: Settings
    parameters: int
    provenance: dict[str, Any] = field(default_factory=dict)
    method: str = "distill"

    def json(self) -> str:
        return json.dumps(asdict(self), sort_keys=True)


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
        chance = random.Random(repr([text.id for text in texts]) + str(self.settings))
        own_words = chance.random() < self.settings.on_policy and any(text.response for text in texts)
        if own_words:
            texts = self._said(texts, chance.getrandbits(31))
        rows = self.target.rows(texts)
        compared, counts = self._compared(rows, chance), _counted(rows)
        head, ours, bias = self.target.head, self.head.lm_head.weight, self.head.lm_head.bias
        if compared is not None:
            head, ours = head[compared.tokens], ours[compared.tokens]
            bias = None if bias is None else bias[compared.tokens]
        known = self.target.last(rows, () if own_words else texts)[counts]
        loss = self._loss(compared, self._likeliest(known, compared) if self.settings.hard else None)
        summed = fused_loss(Head(known, head), Head(self._states(rows)[counts], ours, bias), loss)
        yield summed / total(counts.sum()).clamp(min=1)

    def _compared(self, rows: Rows, chance: random.Random) -> Compared | None:
        """For a batch; None for all tokens."""
        if not len(self._common):
            return None
        certain = torch.cat([self._common, rows.ids[rows.real].cpu()]).unique()
        return Compared.some(certain, len(self.says), round(RARE * len(self._common)), chance).to(self.target.device)

    def _loss(self, compared: Compared | None, likeliest: Tensor | None) -> Loss:
        """likeliest: as `_likeliest` finds them, where they count."""

        def summed(some: slice, theirs: Tensor, ours: Tensor) -> Tensor:
            p, q = _law(theirs, compared), _law(ours, compared)
            loss = (1 - self.settings.hard) * self._divergence(p, q).sum()
            if likeliest is not None:
                hard = F.nll_loss(q, likeliest[some], reduction="sum", ignore_index=NOWHERE)
                loss = loss + self.settings.hard * hard
            return loss

        return summed

    @torch.no_grad()  # type: ignore[untyped-decorator]
    def _likeliest(self, known: Tensor, compared: Compared | None) -> Tensor:
        """[positions] of the target's likeliest tokens, of all there are, in what is compared; NOWHERE for others."""
        likeliest = torch.cat([F.linear(some, self.target.head).argmax(-1) for some in known.split(ROWS)])
        if compared is None:
            return likeliest
        places = torch.full((len(self.says),), NOWHERE, device=likeliest.device)
        places[compared.tokens] = torch.arange(len(compared.tokens), device=likeliest.device)
        return places[likeliest]

    def _states(self, rows: Rows) -> Tensor:
        """[texts, columns, width] of the student, what `lm_head` reads."""
        found: Tensor = self.head.model(
            input_ids=rows.ids,
            attention_mask=rows.real.long(),
            position_ids=rows.positions,
            use_cache=False,
        ).last_hidden_state
        return found

    @torch.no_grad()  # type: ignore[untyped-decorator]
    def _said(self, texts: Sequence[Text], seed: int) -> list[Text]:
        """What the student answers to the same prompts, at temperature 1."""
        longest = max(len(text.response) for text in texts)
        kind = self.target.device.type
        apart = torch.autocast(kind, enabled=False)  # which would keep weights cast here, where nothing is learnt
        with apart, torch.random.fork_rng(devices=[self.target.device] if kind == "cuda" else []):
            said = list(self.target.answer([text.prompt for text in texts], longest, 1.0, seed, model=self.head.eval()))
        self.head.train()
        return [replace(text, response=own) for text, own in zip(texts, said, strict=True)]

    @torch.no_grad()  # type: ignore[untyped-decorator]
    def accepted(self, texts: Sequence[Text]) -> tuple[int, int, np.ndarray]:
        """Tokens emitted, passes, and accepted drafts by position, of greedy chains on the responses as they stand.

        A draft reads the text and the drafts before it, which are the text as long as they are accepted.
        """
        rows = self.target.rows(texts)
        start, width = rows.start, rows.ids.shape[1]
        agree = torch.zeros(rows.ids.shape, dtype=torch.bool)
        for row, states in enumerate(self._states(rows)):
            guess = self.head.lm_head(states[start:-1]).argmax(-1)
            agree[row, start:-1] = (guess == rows.ids[row, start + 1 :]).cpu()
        steps = np.zeros((self.settings.block, *agree.shape), dtype=bool)
        for step in range(min(self.settings.block, width)):
            steps[step, :, : width - step] = agree[:, step:].numpy()
        return chains(steps, rows.real.cpu().numpy(), start)

    @torch.no_grad()  # type: ignore[untyped-decorator]
    def overlap(self, texts: Sequence[Text]) -> tuple[float, int]:
        """The summed probability that a sampled draft is accepted at temperature 1, and over how many positions."""
        rows = self.target.rows(texts)
        counts, total = _counted(rows), 0.0
        own, known = self._states(rows)[counts], self.target.last(rows, texts)[counts]
        for states, theirs in zip(own.split(ROWS), known.split(ROWS), strict=True):
            p = F.linear(theirs, self.target.head).float().log_softmax(-1)
            q = self.head.lm_head(states).float().log_softmax(-1)
            total += float(overlap(p, q).sum())
        return total, int(counts.sum())


def distilled(target: TorchTarget, texts: Sequence[Text], settings: Settings, seed: int = 0) -> DistillRecipe:
    """The recipe for the student that the settings name."""
    student = make_student(target, settings.student, seed)
    check_written(student, target.source)
    return DistillRecipe(target, student, settings, common(texts, settings.vocabulary) if settings.vocabulary else ())


def _law(logits: Tensor, compared: Compared | None) -> Tensor:
    """[positions, tokens]: log probabilities over what is compared, whose logits these are."""
    return (logits if compared is None else logits + compared.stands_for).log_softmax(-1)


def _counted(rows: Rows) -> Tensor:
    """[texts, columns]: positions whose next token is one of the response."""
    counts = torch.zeros_like(rows.real)
    counts[:, rows.start : -1] = rows.real[:, rows.start + 1 :]
    return counts & rows.real
