"""A drafter that works while the target scores: it prepares for the likeliest outcome, and starts anew if it errs."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pytest

from contract.drawing import choose, totals
from foredraft.core.law import Law
from foredraft.core.protocols import Ask, Model, Needs, News, Query, Request, Scores
from foredraft.core.round import run_round
from foredraft.core.rules import Rules
from foredraft.core.tree import DraftTree
from foredraft.engine.sequence import open_sequence
from foredraft.models.toy import Tables, ToyModel
from foredraft.policy.constant import Constant
from foredraft.testing.drafters import DrafterChecks, MakeDrafter, until
from foredraft.testing.watch import drive
from foredraft.verify.match import Match


@dataclass
class Plan:
    """What to propose if the text turns out to be `text`."""

    text: tuple[int, ...] = ()
    tree: DraftTree = DraftTree()


class Planner:
    """Drafts from a table by the last token; plans for all drafts accepted and its own guess of the bonus."""

    needs = Needs(ahead=True)
    table = np.random.default_rng(4).normal(size=(2, 2))

    def __init__(self) -> None:
        self.hits = self.misses = 0
        self.threads: set[int] = set()

    def open(self, request: Request, parent: Plan | None = None) -> Plan:
        return replace(parent) if parent is not None else Plan()

    def propose(self, asks: Sequence[Ask[Plan]]) -> list[DraftTree]:
        planned = [self._planned(ask) for ask in asks]
        return [tree if tree is not None else self._draft(ask) for ask, tree in zip(asks, planned, strict=True)]

    def ahead(self, asks: Sequence[Ask[Plan]], trees: Sequence[DraftTree]) -> None:
        self.threads.add(threading.get_ident())
        for ask, tree in zip(asks, trees, strict=True):
            text, rules = (*ask.committed, *tree.tokens), ask.rules
            for token in tree.tokens:
                rules = rules.after(token)
            bonus = rules.law_of(self.table[text[-1]]).mode()
            further = ask.stream.at(ask.stream.position + len(tree) + 1)
            then = replace(ask, committed=(*text, bonus), rules=rules.after(bonus), stream=further)
            ask.state.text, ask.state.tree = (*text, bonus), self._draft(then)

    def update(self, news: Sequence[News[Plan]]) -> None:
        """Nothing to learn: propose sees whether the plan fits."""

    def close(self, state: Plan) -> None:
        """Nothing to give back."""

    def _planned(self, ask: Ask[Plan]) -> DraftTree | None:
        """The plan, if it was for this text, to the length that is asked for: that was set without a look at it."""
        fits = ask.state.text == tuple(ask.committed)
        self.hits, self.misses = self.hits + fits, self.misses + (not fits)
        return (
            ask.state.tree.select(range(min(len(ask.state.tree), ask.budget.rows, ask.budget.depth))) if fits else None
        )

    def _draft(self, ask: Ask[Plan]) -> DraftTree:
        tokens, laws, rules = list[int](), list[Law](), ask.rules
        for depth in range(min(ask.budget.rows, ask.budget.depth)):
            token, law = choose(ask, depth, rules.law_of(self.table[(*ask.committed, *tokens)[-1]]))
            tokens.append(token)
            laws += [law] if law is not None else []
            rules = rules.after(token)
        return DraftTree.chain(tokens, "planner", laws=laws or None)


class TestPlanner(DrafterChecks):
    """Two tokens, so that texts long enough for a plan to be used can be enumerated."""

    prompts = ((0, 1, 1, 0, 1), (1, 1, 0, 1, 0, 1, 1), (1,))
    exact_rows = 1
    exact_tokens = 4

    @pytest.fixture
    def target(self) -> Model:
        return ToyModel(Tables.random(2, order=1, seed=11))

    @pytest.fixture
    def make_drafter(self) -> MakeDrafter:
        return Planner


class Patient(ToyModel):
    """A target whose pass does not end before the drafter has worked ahead, if it is to."""

    def __init__(self, net: Tables, drafter: Planner) -> None:
        super().__init__(net)
        self.drafter, self.asleep = drafter, threading.Event()

    def score(self, queries: Sequence[Query]) -> list[Scores]:
        seen = len(self.drafter.threads)
        for _ in range(500):
            if self.drafter.threads or seen:
                break
            self.asleep.wait(0.01)
        return super().score(queries)


def test_it_works_beside_the_target() -> None:
    """On a thread of its own, during the pass, and with both plans that fit and plans that do not."""
    drafter = Planner()
    target: Model = Patient(Tables.random(2, order=1, seed=11), drafter)
    requests = [Request(prompt, 1, rules=Rules(temperature=1.0)) for prompt in ((0, 1), (1, 1, 0), (1,))]
    sequences = [open_sequence(target, drafter, Match(), request, until(30)) for request in requests]
    drive(target, Constant(2), sequences)
    assert drafter.threads
    assert threading.get_ident() not in drafter.threads
    assert drafter.hits > 0
    assert drafter.misses > 0
    assert 0 < totals(sequences).accepted < totals(sequences).drafted


def test_it_is_not_called_for_nothing() -> None:
    """No thread is started for a round in which it was not asked."""
    drafter = Planner()
    target = ToyModel(Tables.random(2, order=1, seed=11))
    sequence = open_sequence(target, drafter, Match(), Request((0, 1), 1), until(5))
    drive(target, Constant(0), [sequence])
    assert not drafter.threads


class FailsAhead(Planner):
    def ahead(self, asks: Sequence[Ask[Plan]], trees: Sequence[DraftTree]) -> None:
        raise RuntimeError("no time")


def test_its_exceptions_are_faults() -> None:
    """The drafts of the round stand, the text is the same, and the next round drafts again."""
    target = ToyModel(Tables.random(2, order=1, seed=11))
    request = Request((0, 1), 1, rules=Rules(temperature=1.0))
    sound, broken = (
        open_sequence(target, drafter, Match(), request, until(20)) for drafter in (Planner(), FailsAhead())
    )
    drive(target, Constant(2), [sound])
    while not broken.finished:
        (step,) = run_round(target, Constant(2), [broken])
        assert step.fault == ("RuntimeError: no time" if len(step.tree) else None)
    assert broken.output == sound.output
    assert totals([broken]).accepted == totals([sound]).accepted > 0
    assert len(totals([broken]).faults) == totals([broken]).drafts > 1
