"""The constant policy: the same number of draft tokens every round."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from foredraft.core.errors import UsageError
from foredraft.core.events import Step
from foredraft.core.protocols import Budget, Costs, Load, Request
from foredraft.core.tree import DraftTree


@dataclass(frozen=True)
class Constant:
    """At most `num_speculative_tokens` nodes a round, in any shape the drafter likes."""

    num_speculative_tokens: int

    def __post_init__(self) -> None:
        if self.num_speculative_tokens < 0:
            raise UsageError(f"num_speculative_tokens must be 0 or more, not {self.num_speculative_tokens}")

    def budget(self, request: Request, history: Sequence[Step], load: Load, costs: Costs) -> Budget:
        return Budget(rows=self.num_speculative_tokens, depth=self.num_speculative_tokens)

    def shape(self, trees: Sequence[DraftTree], costs: Costs) -> list[DraftTree]:
        return list(trees)
