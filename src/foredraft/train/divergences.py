"""How far a draft's laws q are from the target's p, for each position: what a distilled drafter is trained to lessen.

A token drafted from q is accepted with probability sum min(p, q) = 1 - TV(p, q) (Leviathan et al. 2211.17192, theorem
3.5). Total variation is thus the aim itself, but its gradient fades where the two hardly overlap; the others are easier
to descend (algorithms.md section 6). Every function takes log p and log q, [positions, vocabulary], and gives a loss a
position, in nats where it is an entropy. p is fixed; the gradient is q's.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from foredraft.core.errors import UnknownName, UsageError

Divergence = Callable[[Tensor, Tensor], Tensor]
HARMONY = 3.0  # how fast likelihood gives way to total variation as the overlap grows (2602.23881)


def forward_kl(p: Tensor, q: Tensor) -> Tensor:
    """KL(p || q): q must cover all that p says."""
    return (p.exp() * (p - q)).sum(-1)


def reverse_kl(p: Tensor, q: Tensor) -> Tensor:
    """KL(q || p): q keeps to what p says often."""
    return (q.exp() * (q - p)).sum(-1)


def jensen_shannon(p: Tensor, q: Tensor, share: float = 0.5) -> Tensor:
    """share KL(p || m) + (1 - share) KL(q || m) with m = share p + (1 - share) q (GKD, 2306.13649)."""
    middle = torch.logaddexp(p + math.log(share), q + math.log1p(-share))
    return share * forward_kl(p, middle) + (1 - share) * forward_kl(q, middle)


def total_variation(p: Tensor, q: Tensor) -> Tensor:
    """Half the sum of |p - q|: one less the probability of acceptance."""
    return (p.exp() - q.exp()).abs().sum(-1) / 2


def overlap(p: Tensor, q: Tensor) -> Tensor:
    """The probability that a token drawn from q is accepted."""
    return torch.minimum(p, q).exp().sum(-1)


def likelihood(p: Tensor, q: Tensor) -> Tensor:
    """-log of the probability of acceptance (2602.23881)."""
    return -torch.logsumexp(torch.minimum(p, q), -1)


def hybrid(p: Tensor, q: Tensor) -> Tensor:
    """l KL(p || q) + (1 - l) TV(p, q) with l = exp(-3 overlap), held fixed: total variation takes over as the overlap
    grows (2602.23881)."""
    weight = (-HARMONY * overlap(p, q)).exp().detach()
    return weight * forward_kl(p, q) + (1 - weight) * total_variation(p, q)


DIVERGENCES: dict[str, Divergence] = {
    "forward-kl": forward_kl,
    "reverse-kl": reverse_kl,
    "jensen-shannon": jensen_shannon,
    "total-variation": total_variation,
    "likelihood": likelihood,
    "hybrid": hybrid,
}


def divergence(written: str) -> Divergence:
    """By name; jensen-shannon:0.1 says its share. Raises UnknownName and UsageError."""
    name, colon, share = written.partition(":")
    if name not in DIVERGENCES:
        raise UnknownName("divergence", name, DIVERGENCES)
    if not colon:
        return DIVERGENCES[name]
    try:
        number = float(share)
    except ValueError:
        number = math.nan
    if name != "jensen-shannon" or not 0 < number < 1:
        raise UsageError(f"only jensen-shannon takes a share, from 0 to 1, as in jensen-shannon:0.1, not {written!r}")
    return lambda p, q: jensen_shannon(p, q, number)
