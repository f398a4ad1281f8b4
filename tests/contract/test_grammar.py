"""A grammar as a rule of the request: the drafter masks by it before it draws, or ignores it, and nothing changes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pytest

from contract.drawing import draft_chain
from foredraft.core.protocols import Ask, Model, Needs, News, Request
from foredraft.core.rules import Logits
from foredraft.core.tree import DraftTree
from foredraft.draft.lookup import Lookup, Options
from foredraft.engine.sequence import open_sequence
from foredraft.models.toy import Tables, ToyModel
from foredraft.testing.drafters import DrafterChecks, MakeDrafter, until
from foredraft.testing.watch import Varied, drive
from foredraft.verify.match import Match
from foredraft.verify.recursive import Recursive

OPEN, CLOSE, WORD = range(3)


@dataclass(frozen=True)
class Brackets:
    """Balanced brackets, at most two deep, words inside them only."""

    depth: int = 0

    def allowed(self) -> tuple[int, ...]:
        return ((OPEN,), (OPEN, CLOSE, WORD), (CLOSE, WORD))[self.depth]

    def apply(self, logits: Logits) -> Logits:
        masked = np.full_like(logits, -np.inf)
        masked[list(self.allowed())] = logits[list(self.allowed())]
        return masked

    def after(self, token: int) -> Brackets:
        # A draft may say what is not allowed: its subtree is dead, and nobody asks for a law there.
        return Brackets(min(max(self.depth + {OPEN: 1, CLOSE: -1, WORD: 0}[token], 0), 2))


class Masked:
    """A table of its own, under the rules of the ask: what may not follow is never drafted."""

    needs = Needs()
    table = np.random.default_rng(5).normal(size=(3, 3))

    def open(self, request: Request, parent: Request | None = None) -> Request:
        return request

    def propose(self, asks: Sequence[Ask[Request]]) -> list[DraftTree]:
        return [
            draft_chain(ask, "masked", lambda tokens, ask=ask: self.table[(*ask.committed, *tokens)[-1]])
            for ask in asks
        ]

    def update(self, news: Sequence[News[Request]]) -> None:
        """Nothing to learn."""

    def close(self, state: Request) -> None:
        """Nothing to give back."""


class UnderAGrammar(DrafterChecks):
    def request(self, prompt: tuple[int, ...], **options: object) -> Request:
        request = super().request(prompt, **options)
        return replace(request, rules=replace(request.rules, steps=(Brackets(),)))


class TestMasked(UnderAGrammar):
    @pytest.fixture
    def make_drafter(self) -> MakeDrafter:
        return Masked


class TestLookupUnderAGrammar(UnderAGrammar):
    """It knows of no grammar: its dead drafts cost rows, nothing else."""

    @pytest.fixture
    def make_drafter(self) -> MakeDrafter:
        return lambda: Lookup(Options(n=2, branches=2))


@pytest.mark.parametrize("verifier", [Match(), Recursive()], ids=lambda verifier: type(verifier).__name__)
@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize("drafter", [Masked(), Lookup(Options(n=2))], ids=lambda drafter: type(drafter).__name__)
def test_what_is_said_obeys(drafter: object, temperature: float, verifier: object) -> None:
    target: Model = ToyModel(Tables.random(3, order=1, seed=11))
    checks = UnderAGrammar()
    for seed in range(10):
        requests = [checks.request(prompt, temperature=temperature, seed=seed) for prompt in checks.prompts]
        sequences = [open_sequence(target, drafter, verifier, request, until(15)) for request in requests]
        drive(target, Varied(), sequences)
        for sequence in sequences:
            grammar = Brackets()
            for token in sequence.output:
                assert token in grammar.allowed()
                grammar = grammar.after(token)


def test_masked_drafts_obey_too() -> None:
    target: Model = ToyModel(Tables.random(3, order=1, seed=11))
    request = UnderAGrammar().request((0, 1), seed=1)
    sequence = open_sequence(target, Masked(), Match(), request, until(15))
    drive(target, Varied(), [sequence])
    for step in sequence.steps:
        grammar = Brackets()
        for token in (*sequence.output[: step.position], *step.tree.tokens):
            assert token in grammar.allowed()
            grammar = grammar.after(token)
