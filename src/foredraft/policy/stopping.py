"""Policies that say when a drafter stops, for study: by a token's chance, by its path's, by the entropy of its law.

They shorten drafts of those who go token by token (a draft model) and leave other drafters to their length. Stopping
never looks at a token that is then dropped, so all are exact under every verifier.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import sqrt

from foredraft.core.events import Step
from foredraft.core.protocols import Budget, Load, Plan, Request, Stop
from foredraft.core.tree import DraftTree
from foredraft.policy.constant import shaped


@dataclass(frozen=True)
class Confidence:
    """Stops after a token that its drafter gives less than `threshold`, as transformers' assistant models do."""

    threshold: float = 0.4

    def __call__(self, chance: float, path: float, entropy: Callable[[], float]) -> bool:
        return chance < self.threshold


@dataclass(frozen=True)
class Cumulative:
    """Stops once the whole path has less than `threshold`: what is asked is whether the token will be reached."""

    threshold: float = 0.3

    def __call__(self, chance: float, path: float, entropy: Callable[[], float]) -> bool:
        return path < self.threshold


@dataclass(frozen=True)
class Uncertainty:
    """Stops where 1 - sqrt(scale * entropy), a lower bound of the acceptance, is below `threshold` (2410.18351)."""

    threshold: float
    scale: float = 0.2

    def __call__(self, chance: float, path: float, entropy: Callable[[], float]) -> bool:
        return 1.0 - sqrt(self.scale * max(0.0, entropy())) < self.threshold


@dataclass(frozen=True)
class Stopping:
    """At most `num_speculative_tokens`, and no further than `stop` says."""

    stop: Stop
    num_speculative_tokens: int = 16

    def open(self, request: Request) -> Stopping:
        return self

    def budget(self, state: Stopping, source: str, so_far: DraftTree, load: Load) -> Budget:
        return Budget(self.num_speculative_tokens, self.num_speculative_tokens, stop=self.stop)

    def shape(self, states: Sequence[Stopping], trees: Sequence[DraftTree], load: Load) -> list[Plan]:
        return [shaped(tree, self.num_speculative_tokens) for tree in trees]

    def update(self, state: Stopping, step: Step) -> None:
        """Nothing to learn."""


@dataclass
class Threshold:
    """Of one sequence: where to stop, and the share of drafts accepted lately."""

    value: float
    acceptance: float


@dataclass(frozen=True)
class AdaEDL:
    """Adaptive entropy-based draft length (2410.18351): the threshold moves so that acceptance stays about `target`.

    The update is that of 2309.08168, section 3.3: a smoothed acceptance rate below the target raises the threshold by
    `step`, one above it lowers it, smoothed again.
    """

    threshold: float = 0.6
    target: float = 0.9
    step: float = 0.01
    smooth_acceptance: float = 0.5
    smooth_threshold: float = 0.9
    num_speculative_tokens: int = 16

    def open(self, request: Request) -> Threshold:
        return Threshold(self.threshold, self.target)

    def budget(self, state: Threshold, source: str, so_far: DraftTree, load: Load) -> Budget:
        stop = Uncertainty(state.value)
        return Budget(self.num_speculative_tokens, self.num_speculative_tokens, stop=stop)

    def shape(self, states: Sequence[Threshold], trees: Sequence[DraftTree], load: Load) -> list[Plan]:
        return [shaped(tree, self.num_speculative_tokens) for tree in trees]

    def update(self, state: Threshold, step: Step) -> None:
        if not step.tree.depth:
            return
        rate, keep = step.accepted / step.tree.depth, self.smooth_acceptance
        state.acceptance = keep * state.acceptance + (1 - keep) * rate
        moved = state.value + (self.step if state.acceptance <= self.target else -self.step)
        state.value = self.smooth_threshold * state.value + (1 - self.smooth_threshold) * moved
