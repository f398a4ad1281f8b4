"""The loss and its gradient are those that torch finds."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from foredraft.train import cross_entropy as own  # noqa: E402

CASES = [(300, 1.0, False), (300, 0.5, True), (1, 0.0, True), (128, 0.3, True), (0, 0.5, True)]


def theirs(logits: torch.Tensor, wanted: torch.Tensor, laws: torch.Tensor | None, hard: float) -> torch.Tensor:
    logs = logits.log_softmax(-1)
    said = torch.nn.functional.nll_loss(logs, wanted, reduction="sum")
    return said if laws is None else hard * said - (1 - hard) * (laws.to(logs.dtype) * logs).sum()


@pytest.mark.parametrize(("rows", "hard", "soft"), CASES)
def test_the_loss_and_its_gradient(rows: int, hard: float, soft: bool) -> None:
    torch.manual_seed(rows)
    exact = (3 * torch.randn(rows, 50, dtype=torch.float64)).requires_grad_()
    wanted = torch.randint(0, 50, (rows,))
    laws = torch.randn(rows, 50).softmax(-1).to(torch.bfloat16) if soft else None  # which do not quite add up to 1
    (expected := 0.7 * theirs(exact, wanted, laws, hard)).backward()
    logits = exact.detach().float().requires_grad_()
    (found := 0.7 * own.cross_entropy(logits, wanted, laws, hard)).backward()
    assert found.item() == pytest.approx(expected.item(), rel=1e-5, abs=1e-6)
    torch.testing.assert_close(logits.grad, exact.grad.float(), rtol=1e-4, atol=1e-6)


def test_in_halves_sums_are_of_floats() -> None:
    torch.manual_seed(0)
    logits = torch.randn(200, 5000).to(torch.bfloat16).requires_grad_()
    wanted = torch.randint(0, 5000, (200,))
    own.cross_entropy(logits, wanted).backward()
    exact = logits.detach().double().requires_grad_()
    theirs(exact, wanted, None, 1.0).backward()
    assert own.cross_entropy(logits, wanted).item() == pytest.approx(theirs(exact, wanted, None, 1.0).item(), rel=1e-5)
    torch.testing.assert_close(logits.grad, exact.grad.to(torch.bfloat16), rtol=2e-2, atol=1e-5)
