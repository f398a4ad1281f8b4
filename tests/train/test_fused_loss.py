"""Losses and gradients that are made look by look are those that torch makes of whole laws."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from foredraft.train.cross_entropy import AT_ONCE  # noqa: E402
from foredraft.train.divergences import DIVERGENCES, divergence  # noqa: E402
from foredraft.train.fused_loss import ROWS, Head, fused_loss  # noqa: E402

WIDTH, TOKENS = 8, 40


def heads(positions: int, seed: int = 0, bias: bool = True) -> tuple[Head, Head]:
    """What is fixed and what is learnt, of different widths."""
    made = torch.Generator().manual_seed(seed)
    draw = lambda *shape: torch.randn(*shape, generator=made)  # noqa: E731
    fixed = Head(draw(positions, 2 * WIDTH), draw(TOKENS, 2 * WIDTH) / 4)
    learnt = [draw(positions, WIDTH), draw(TOKENS, WIDTH) / 2, draw(TOKENS) if bias else None]
    return fixed, Head(*(None if one is None else one.requires_grad_() for one in learnt))


def leaves(head: Head) -> list[torch.Tensor]:
    return [one for one in (head.states, head.weight, head.bias) if one is not None]


def whole(fixed: Head, learnt: Head, name: str) -> torch.Tensor:
    """As torch makes it by itself."""
    every = slice(None)
    return divergence(name)(fixed.logits(every).log_softmax(-1), learnt.logits(every).log_softmax(-1)).sum()


def fused(fixed: Head, learnt: Head, name: str) -> torch.Tensor:
    def loss(_: slice, theirs: torch.Tensor, ours: torch.Tensor) -> torch.Tensor:
        return divergence(name)(theirs.log_softmax(-1), ours.log_softmax(-1)).sum()

    return fused_loss(fixed, learnt, loss)


@pytest.mark.parametrize("at_once", [3 * TOKENS, 1 << 20])
@pytest.mark.parametrize("name", DIVERGENCES)
@pytest.mark.parametrize(("positions", "bias"), [(0, True), (1, False), (ROWS, True), (ROWS + 7, False)])
def test_loss_and_gradients_are_those_of_torch(
    monkeypatch: pytest.MonkeyPatch, name: str, positions: int, bias: bool, at_once: int
) -> None:
    monkeypatch.setitem(AT_ONCE, "cpu", at_once)
    fixed, learnt = heads(positions, bias=bias)
    wanted, found = whole(fixed, learnt, name), fused(fixed, learnt, name)
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5)
    for own, like in zip(
        torch.autograd.grad(3 * found, leaves(learnt)), torch.autograd.grad(3 * wanted, leaves(learnt)), strict=True
    ):
        torch.testing.assert_close(own, like, rtol=1e-4, atol=1e-5)


def test_positions_are_told_once_each_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(AT_ONCE, "cpu", 3 * TOKENS)
    fixed, learnt = heads(ROWS + 5)
    seen: list[int] = []

    def loss(some: slice, theirs: torch.Tensor, ours: torch.Tensor) -> torch.Tensor:
        seen.extend(range(some.start, some.stop))
        assert len(theirs) == len(ours) == some.stop - some.start <= 3
        return ours.sum()

    fused_loss(fixed, learnt, loss).backward()
    assert seen == list(range(ROWS + 5))


def test_half_precision_is_near() -> None:
    fixed, learnt = heads(ROWS + 7)
    wanted = torch.autograd.grad(whole(fixed, learnt, "forward-kl"), leaves(learnt))
    with torch.autocast("cpu", torch.bfloat16):
        found = fused(fixed, learnt, "forward-kl")
    assert found.dtype == torch.float32
    for own, like in zip(torch.autograd.grad(found, leaves(learnt)), wanted, strict=True):
        assert own.dtype == torch.float32
        assert (own - like).norm() < 0.02 * like.norm()
