"""The loss between two laws over some of their tokens: which those are, and what each stands for."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from foredraft.train.fused_loss import ROWS, Loss

NOWHERE = -100  # of a token that is not compared


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


def summed_loss(
    between: Callable[[Tensor, Tensor], Tensor], hard: float, compared: Compared | None, likely: Tensor | None
) -> Loss:
    """between: the divergence of laws. likely: as `likeliest` finds them, where a share `hard` looks at them alone."""

    def summed(some: slice, theirs: Tensor, ours: Tensor) -> Tensor:
        p, q = _law(theirs, compared), _law(ours, compared)
        loss = (1 - hard) * between(p, q).sum()
        if likely is not None:
            loss = loss + hard * F.nll_loss(q, likely[some], reduction="sum", ignore_index=NOWHERE)
        return loss

    return summed


@torch.no_grad()  # type: ignore[untyped-decorator]
def likeliest(known: Tensor, head: Tensor, compared: Compared | None) -> Tensor:
    """[positions] of the target's likeliest tokens, of all there are, in what is compared; NOWHERE for others."""
    found = torch.cat([F.linear(some, head).argmax(-1) for some in known.split(ROWS)])
    if compared is None:
        return found
    places = torch.full((len(head),), NOWHERE, device=found.device)
    places[compared.tokens] = torch.arange(len(compared.tokens), device=found.device)
    return places[found]


def _law(logits: Tensor, compared: Compared | None) -> Tensor:
    """[positions, tokens]: log probabilities over what is compared, whose logits these are."""
    return (logits if compared is None else logits + compared.stands_for).log_softmax(-1)
