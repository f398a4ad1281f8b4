"""A loss between two heads' laws, with its gradient from the same look at both.

A law over a vocabulary is the largest thing that training makes. Here a few positions at a time are multiplied by the
heads, a few of those become laws, a loss and its slope while they are in a cache, and only gradients of states and
weights are kept: memory does not grow with the vocabulary times the batch, and no law is made twice.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from foredraft.train.cross_entropy import AT_ONCE

ROWS = 512  # positions that are multiplied by the heads at a time
# Which positions, the logits of p, fixed, and of q, [positions, tokens] in float32; the loss summed over them.
Loss = Callable[[slice, Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Head:
    """What logits are made of. states: [positions, width]. weight: [tokens, width]. bias: [tokens], or none."""

    states: Tensor
    weight: Tensor
    bias: Tensor | None = None

    def logits(self, some: slice) -> Tensor:
        return F.linear(self.states[some], self.weight, self.bias)


def fused_loss(fixed: Head, learnt: Head, loss: Loss) -> Tensor:
    """Summed over all positions; its gradient is that of what `learnt` is made of. To be learnt from once."""
    found: Tensor = _FusedLoss.apply(learnt.states, learnt.weight, learnt.bias, fixed, loss)
    return found


class _FusedLoss(torch.autograd.Function):  # type: ignore[misc]
    @staticmethod
    def forward(ctx: Any, states: Tensor, weight: Tensor, bias: Tensor | None, fixed: Head, loss: Loss) -> Tensor:
        learnt, total = Head(states, weight, bias), torch.zeros((), device=states.device)
        slopes = [torch.zeros_like(one, dtype=torch.float32) for one in (states, weight)]
        bias_slope = None if bias is None else torch.zeros_like(bias, dtype=torch.float32)
        rounded = weight.to(learnt.logits(slice(0, 0)).dtype)  # as logits are, by what the caller multiplies in
        for begin in range(0, len(states), ROWS):
            some = slice(begin, begin + ROWS)
            part, slope = _look(begin, fixed.logits(some), learnt.logits(some), loss)
            total += part
            slopes[0][some] = slope @ rounded
            slopes[1] += slope.T @ states[some].to(slope.dtype)
            if bias_slope is not None:
                bias_slope += slope.sum(0, dtype=torch.float32)
        ctx.slopes = [
            None if like is None else one.to(like.dtype)
            for one, like in zip((*slopes, bias_slope), (states, weight, bias), strict=True)
        ]
        return total

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, *above: Tensor) -> tuple[Tensor | None, ...]:
        slopes, ctx.slopes = ctx.slopes, None
        return *(None if one is None else one.mul_(above[0]) for one in slopes), None, None


def _look(begin: int, fixed: Tensor, learnt: Tensor, loss: Loss) -> tuple[Tensor, Tensor]:
    """The loss of these logits, and its slope by `learnt`, in their own precision."""
    total, slope = torch.zeros((), device=learnt.device), torch.empty_like(learnt)
    count = max(1, AT_ONCE.get(learnt.device.type, AT_ONCE["cuda"]) // learnt.shape[1])
    for at in range(0, len(learnt), count):
        some = slice(at, min(at + count, len(learnt)))
        with torch.enable_grad():
            own = learnt[some].float().detach().requires_grad_()
            part = loss(slice(begin + some.start, begin + some.stop), fixed[some].float(), own)
            (slope[some],) = torch.autograd.grad(part, own)
        total += part.detach()
    return total, slope
