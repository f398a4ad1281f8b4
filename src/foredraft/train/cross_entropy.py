"""The cross entropy of a head's laws, with its gradient from the same look at the logits.

By itself torch would keep logits in float32, their logarithms and what both come from, and most of the time of a step
on a CPU goes into copying those. Here a few rows at a time become a loss and its gradient, in the logits' own
precision, which is all that is kept; sums and exponentials are of float32.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

# Logits at a time: on a CPU what is made of them should stay in a cache, on a GPU they should be many.
AT_ONCE = {"cpu": 1 << 20, "cuda": 1 << 26}


def cross_entropy(logits: Tensor, wanted: Tensor, laws: Tensor | None = None, hard: float = 1.0) -> Tensor:
    """hard * -log q(wanted) - (1 - hard) * sum of p log q, summed over positions; q is the law of the logits.

    logits: [positions, tokens]. wanted: [positions]. laws: p, [positions, tokens]; without it all is of what is wanted.
    """
    found: Tensor = _CrossEntropy.apply(logits, wanted, laws, 1.0 if laws is None else hard)
    return found


class _CrossEntropy(torch.autograd.Function):  # type: ignore[misc]
    @staticmethod
    def forward(ctx: Any, logits: Tensor, wanted: Tensor, laws: Tensor | None, hard: float) -> Tensor:
        loss, slope = torch.zeros((), device=logits.device), torch.empty_like(logits)
        count = max(1, AT_ONCE.get(logits.device.type, AT_ONCE["cuda"]) // logits.shape[1])
        for begin in range(0, len(logits), count):
            some = slice(begin, begin + count)
            rows, said = logits[some].float(), wanted[some, None]
            norm = rows.logsumexp(-1, keepdim=True)
            weight = torch.full_like(norm, hard)
            loss -= hard * rows.gather(1, said).sum()
            softmax = (rows - norm).exp_()
            if laws is not None:
                soft = (1 - hard) * laws[some].float()
                weight += soft.sum(-1, keepdim=True)
                loss -= (soft * rows).sum()
                softmax.mul_(weight).sub_(soft)
            softmax.scatter_add_(1, said, torch.full_like(norm, -hard))
            loss += (weight * norm).sum()
            slope[some] = softmax.to(slope.dtype)
        ctx.slope = slope
        return loss

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, *above: Tensor) -> tuple[Tensor, None, None, None]:
        slope, ctx.slope = ctx.slope, None  # a loss is learnt from once, and no second one of these is made
        return slope.mul_(above[0]), None, None, None
