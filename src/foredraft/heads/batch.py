"""What trained heads read of texts while they are trained, and the contract of their modules (torch)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor, nn


@dataclass(frozen=True)
class Batch:
    """Texts side by side: column t of one text is one position.

    hidden: [texts, columns, taps, width], the target's hidden states. embedded: [texts, columns, width], input
    embeddings of the tokens. positions: [texts, columns]; real: [texts, columns], False for padding. start: the first
    column whose row is wanted as a context's end. previous: [texts, columns], places in the head's vocabulary of the
    tokens, 0 for those it does not have.
    """

    hidden: Tensor
    embedded: Tensor
    positions: Tensor
    real: Tensor
    start: int
    previous: Tensor


class HeadModule(Protocol):
    """A head as it is trained. Column t of step s reads the target up to column t - 1 and the tokens up to t + s, those
    of the text itself, and predicts the token at column t + 1 + s.
    """

    vocabulary: Tensor
    head: Tensor

    def __call__(self, batch: Batch) -> Iterable[Tensor]:
        """What each step says, `block` of [texts, columns - start, width], made as they are asked for or at once."""

    def logits(self, rows: Tensor, step: int, previous: Tensor | None = None) -> Tensor:
        """[…, width] of a step -> [… , tokens]. previous: […] places of the tokens before those predicted."""

    def tensors(self) -> dict[str, Tensor]:
        """Every tensor under the name that files have for it."""

    def parameters(self) -> Iterable[nn.Parameter]: ...
