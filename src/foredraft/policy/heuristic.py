"""The heuristic of Hugging Face transformers: two tokens more after a draft that was right, one less after a miss."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from foredraft.core.events import Step
from foredraft.core.protocols import Budget, Load, Plan, Request
from foredraft.core.tree import DraftTree
from foredraft.policy.constant import shaped


@dataclass
class Length:
    """How much the next round of a sequence drafts."""

    tokens: float


@dataclass(frozen=True)
class Heuristic:
    """num_speculative_tokens: of the first round; the schedule `heuristic` there begins with 5 and forgets nothing.

    Never fewer than one and, unlike theirs, never more than `most`.
    """

    num_speculative_tokens: int = 5
    most: int = 48

    def open(self, request: Request) -> Length:
        return Length(self.num_speculative_tokens)

    def budget(self, state: Length, source: str, so_far: DraftTree, load: Load) -> Budget:
        return Budget(int(state.tokens), int(state.tokens))

    def shape(self, states: Sequence[Length], trees: Sequence[DraftTree], load: Load) -> list[Plan]:
        return [shaped(tree, int(state.tokens)) for state, tree in zip(states, trees, strict=True)]

    def update(self, state: Length, step: Step) -> None:
        if step.tree.depth:
            right = step.accepted == step.tree.depth
            state.tokens = min(self.most, state.tokens + 2) if right else max(1, state.tokens - 1)
