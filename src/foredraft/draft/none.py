"""No drafting: plain decoding, through the same loop."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from foredraft.core.protocols import Ask, Needs, News, Request
from foredraft.core.tree import EMPTY, DraftTree
from foredraft.draft.family import Family


@dataclass(frozen=True)
class Options:
    """None has none."""


class Nothing:
    """Proposes the empty tree."""

    needs = Needs()

    def open(self, request: Request, parent: Options | None = None) -> Options:
        return Options()

    def propose(self, asks: Sequence[Ask[Options]]) -> list[DraftTree]:
        return [EMPTY for _ in asks]

    def update(self, news: Sequence[News[Options]]) -> None:
        """Nothing to learn."""

    def close(self, state: Options) -> None:
        """Nothing to give back."""


FAMILY = Family(
    name="none",
    summary="plain decoding, one token a pass",
    options=Options,
    needs=lambda options: Needs(),
    build=lambda options, provided: Nothing(),
    nodes=lambda options: 0,
)
