"""Exact enumeration: the joint law of what a program says, by following every branch of its chances.

`outcomes(run)` runs a function once for every way its draws can fall and adds up the probabilities, so a law is known
to rounding (1e-12) instead of to the square root of a sample. `plain` is the law the target itself has, computed
independently of rounds, trees and verifiers: model, rules, stop, nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

import numpy as np

from foredraft.core import stop as stopping
from foredraft.core.errors import RuleError
from foredraft.core.law import Law
from foredraft.core.protocols import AnyDrafter, AnyPolicy, Model, Query, Request, Verifier
from foredraft.core.rules import Rules
from foredraft.core.stop import StopState
from foredraft.core.stream import Purpose, Stream
from foredraft.engine.loop import generate
from foredraft.engine.sequence import open_sequence

Outcome = TypeVar("Outcome", bound=Hashable)


@dataclass
class Chooser:
    """Replays a script of choices, then takes the first possible one, and notes what else it could have taken."""

    script: list[int]
    weight: float = 1.0
    open_branches: list[list[int]] = field(default_factory=list)
    depth: int = 0

    def choose(self, probs: Sequence[float]) -> int:
        """An index with positive probability; the chance of coming here is multiplied into `weight`."""
        possible = [index for index, prob in enumerate(probs) if prob > 0]
        if self.depth < len(self.script):
            taken = self.script[self.depth]
        else:
            taken = possible[0]
            self.open_branches += [[*self.script, other] for other in possible[1:]]
            self.script = [*self.script, taken]
        self.depth += 1
        self.weight *= probs[taken]
        return taken


def outcomes(run: Callable[[Chooser], Outcome]) -> dict[Outcome, float]:
    """outcome -> probability, over all ways the chooser's choices can fall; `run` must otherwise be deterministic."""
    law: dict[Outcome, float] = {}
    waiting: list[list[int]] = [[]]
    while waiting:
        chooser = Chooser(waiting.pop())
        outcome = run(chooser)
        law[outcome] = law.get(outcome, 0.0) + chooser.weight
        waiting += chooser.open_branches
    return law


@dataclass(frozen=True)
class BranchingStream:
    """A stream whose every draw is a branch. Draws of coupled drafters are followed as if they were independent:

    harder than what happens, and `match` must be exact all the same.
    """

    chooser: Chooser
    position: int = 0

    def at(self, position: int) -> BranchingStream:
        return replace(self, position=position)

    def ahead(self, by: int) -> BranchingStream:
        return replace(self, position=self.position + by)

    def independent(self, lane: int) -> BranchingStream:
        return self

    def draw(self, law: Law, purpose: Purpose, lane: int = 0) -> int:
        ids, probs = law.support()
        return int(ids[self.chooser.choose([float(prob) for prob in probs])])

    def rank(self, law: Law, count: int, purpose: Purpose, lane: int = 0) -> list[int]:
        # The runners-up are taken by probability: following every order would cost much and show nothing more.
        first = self.draw(law, purpose, lane)
        ids, probs = law.support()
        rest = [int(token) for token in ids[np.argsort(-probs, kind="stable")] if token != first]
        return [first, *rest][:count]

    def flip(self, p: float, q: float, lane: int) -> bool:
        chance = min(1.0, p / q) if q > 0 else float(p > 0)
        return self.chooser.choose([chance, 1.0 - chance]) == 0


def said(
    model: Model,
    drafter: AnyDrafter | Mapping[str, AnyDrafter],
    verifier: Verifier,
    policy: AnyPolicy,
    request: Request,
    stop: StopState,
    stream: Stream,
) -> tuple[int, ...]:
    """The tokens one generation emits through the real loop. Raises AssertionError when the drafter failed."""
    sequence = open_sequence(model, drafter, verifier, request, stop, stream=stream)
    for _, step in generate(model, policy, [sequence]):
        assert step.fault is None, step.fault
        assert sequence.cache.length <= len(sequence.committed) - 1
    output = tuple(sequence.output)
    sequence.close()
    return output


def speculated(
    model: Model,
    drafter: AnyDrafter | Mapping[str, AnyDrafter],
    verifier: Verifier,
    policy: AnyPolicy,
    request: Request,
    stop: StopState,
) -> dict[tuple[int, ...], float]:
    """The joint law of everything a speculative generation may say."""
    return outcomes(lambda chooser: said(model, drafter, verifier, policy, request, stop, BranchingStream(chooser)))


def plain(model: Model, request: Request, stop: StopState) -> dict[tuple[int, ...], float]:
    """The joint law of plain decoding: the product of the target's laws along each text, one fresh pass a token."""
    law: dict[tuple[int, ...], float] = {}

    def follow(text: tuple[int, ...], rules: Rules, state: StopState, weight: float) -> None:
        if state.finish is not None:
            law[text] = law.get(text, 0.0) + weight
            return
        path = (*request.prompt, *text)
        query = Query(model.open(), path, tuple(range(-1, len(path) - 1)), (len(path) - 1,))
        try:
            ids, probs = rules.law_of(model.score([query])[0].logits(len(path) - 1)).support()
        except RuleError:
            law[text] = law.get(text, 0.0) + weight
            return
        for token, prob in zip(ids, probs, strict=True):
            kept, after = stopping.trim(state, (int(token),))
            follow((*text, *kept), rules.after(int(token)), after, weight * float(prob))

    follow((), request.rules, stop, 1.0)
    return law


def distance(first: dict[Outcome, float], second: dict[Outcome, float]) -> float:
    """The total variation between two laws of outcomes."""
    keys = first.keys() | second.keys()
    return float(np.abs([first.get(key, 0.0) - second.get(key, 0.0) for key in keys]).sum() / 2)
