"""Divergences against their definitions in float64, one term at a time, and what is known of them."""

from __future__ import annotations

import math

import pytest

torch = pytest.importorskip("torch")

from foredraft.core.errors import UnknownName, UsageError  # noqa: E402
from foredraft.train import divergences  # noqa: E402
from foredraft.train.divergences import DIVERGENCES, divergence  # noqa: E402

torch.manual_seed(0)
P = torch.randn(40, 7, dtype=torch.float64).mul(2).log_softmax(-1)
Q = torch.randn(40, 7, dtype=torch.float64).mul(2).log_softmax(-1)


def by_hand(name: str, p: list[float], q: list[float]) -> float:
    """The definition, over probabilities."""
    kl = sum(a * math.log(a / b) for a, b in zip(p, q))
    accepted = sum(min(a, b) for a, b in zip(p, q))
    middle = [(a + b) / 2 for a, b in zip(p, q)]
    weight = math.exp(-3 * accepted)
    return {
        "forward-kl": kl,
        "reverse-kl": sum(b * math.log(b / a) for a, b in zip(p, q)),
        "jensen-shannon": sum(
            (a * math.log(a / m) + b * math.log(b / m)) / 2 for a, b, m in zip(p, q, middle)
        ),
        "total-variation": 1 - accepted,
        "likelihood": -math.log(accepted),
        "hybrid": weight * kl + (1 - weight) * (1 - accepted),
    }[name]  # fmt: skip


@pytest.mark.parametrize("name", DIVERGENCES)
def test_each_is_its_definition(name: str) -> None:
    found = divergence(name)(P, Q)
    expected = [by_hand(name, p, q) for p, q in zip(P.exp().tolist(), Q.exp().tolist())]
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64))


@pytest.mark.parametrize("name", DIVERGENCES)
def test_none_is_negative_and_equal_laws_are_no_distance(name: str) -> None:
    assert bool((divergence(name)(P, Q) > 0).all())
    torch.testing.assert_close(divergence(name)(P, P), torch.zeros(40, dtype=torch.float64))


@pytest.mark.parametrize("name", DIVERGENCES)
def test_descent_raises_acceptance(name: str) -> None:
    logits = torch.zeros(40, 7, dtype=torch.float64, requires_grad=True)
    before = divergences.overlap(P, logits.detach().log_softmax(-1)).mean()
    optimizer = torch.optim.Adam([logits], lr=0.05)
    for _ in range(150):
        optimizer.zero_grad()
        divergence(name)(P, logits.log_softmax(-1)).sum().backward()
        optimizer.step()
    after = divergences.overlap(P, logits.detach().log_softmax(-1)).mean()
    assert float(after) > float(before) + 0.1
    assert float(after) > 0.9


def test_bounds_that_are_known() -> None:
    """Pinsker: TV <= sqrt(KL / 2), both ways; and the jensen-shannon divergence is at most log 2."""
    spread = total = divergences.total_variation(P, Q)
    assert bool((total <= (divergences.forward_kl(P, Q) / 2).sqrt()).all())
    assert bool((spread <= (divergences.reverse_kl(P, Q) / 2).sqrt()).all())
    assert bool((divergences.jensen_shannon(P, Q) <= math.log(2)).all())


def test_a_share_makes_jensen_shannon_lean() -> None:
    """Divided by the share it tends to KL(p || q) as the share vanishes (GKD, 2306.13649, section 3)."""
    leaning = divergence("jensen-shannon:0.000001")(P, Q) / 0.000001
    torch.testing.assert_close(leaning, divergences.forward_kl(P, Q), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("written", ["jensen-shannon:0", "jensen-shannon:1", "jensen-shannon:x", "forward-kl:0.5"])
def test_shares_that_cannot_be(written: str) -> None:
    with pytest.raises(UsageError, match="share"):
        divergence(written)


def test_unknown_names() -> None:
    with pytest.raises(UnknownName, match="divergence"):
        divergence("kl")
