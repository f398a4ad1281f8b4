"""The constant policy: the same number of draft tokens every round."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from foredraft.core.errors import UsageError
from foredraft.core.events import Step
from foredraft.core.protocols import Budget, Load, Plan, Request
from foredraft.core.tree import DraftTree, best


@dataclass(frozen=True)
class Constant:
    """At most `num_speculative_tokens` nodes a round, in any shape the drafter likes."""

    num_speculative_tokens: int

    def __post_init__(self) -> None:
        if self.num_speculative_tokens < 0:
            raise UsageError(f"num_speculative_tokens must be 0 or more, not {self.num_speculative_tokens}")

    def open(self, request: Request) -> Constant:
        return self

    def budget(self, state: Constant, source: str, so_far: DraftTree, load: Load) -> Budget:
        return Budget(rows=self.num_speculative_tokens, depth=self.num_speculative_tokens)

    def shape(self, states: Sequence[Constant], trees: Sequence[DraftTree], load: Load) -> list[Plan]:
        return [shaped(tree, self.num_speculative_tokens) for tree in trees]

    def update(self, state: Constant, step: Step) -> None:
        """Nothing to learn."""


def shaped(tree: DraftTree, rows: int) -> Plan:
    """Its `rows` likeliest nodes where several sources drafted: together they may exceed what each was asked for."""
    return Plan(best(tree, rows) if len(set(tree.sources)) > 1 else tree)
