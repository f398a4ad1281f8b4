"""A drafter whose model is itself speculated: the round runs inside the round (algorithms: cascades).

It exists twice in time. Its inner state and cache stand at what the target committed; every proposal runs ahead from
there on a copy of the inner drafter's state, and is undone when the target has spoken.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import pytest

from contract.drawing import totals
from foredraft.core.protocols import AnyDrafter, Ask, Cache, Model, Needs, News, Request
from foredraft.core.round import run_round
from foredraft.core.rules import Rules
from foredraft.core.sequence import Sequence as Seq
from foredraft.core.sequence import Source
from foredraft.core.stream import KeyedStream, Purpose
from foredraft.core.tree import DraftTree
from foredraft.draft.lookup import Lookup, Options
from foredraft.draft.model import ModelDrafter
from foredraft.engine.sequence import open_sequence
from foredraft.models.toy import Tables, ToyModel
from foredraft.policy.constant import Constant
from foredraft.testing.drafters import DrafterChecks, MakeDrafter, until
from foredraft.testing.recompute import Recompute
from foredraft.testing.watch import Varied, drive
from foredraft.verify.match import Match


@dataclass
class Stage:
    """state: the inner drafter's, which knows of committed tokens only, as does the cache between rounds."""

    request: Request
    cache: Cache
    state: object


class Staged:
    needs = Needs()

    def __init__(self, model: Model, inner: AnyDrafter, num_speculative_tokens: int = 3) -> None:
        self.model, self.inner, self.policy = model, inner, Constant(num_speculative_tokens)
        self.inner_steps: list[tuple[int, int, int]] = []

    def open(self, request: Request, parent: Stage | None = None) -> Stage:
        if parent is None:
            return Stage(request, self.model.open(), self.inner.open(request))
        return Stage(request, parent.cache.fork(), self.inner.open(request, parent=parent.state))

    def propose(self, asks: Sequence[Ask[Stage]]) -> list[DraftTree]:
        self._catch_up(asks)
        runs = {index: self._run(ask) for index, ask in enumerate(asks) if min(ask.budget.rows, ask.budget.depth) > 0}
        while active := [run for run in runs.values() if not run.finished]:
            run_round(self.model, self.policy, active)
        trees = [DraftTree()] * len(asks)
        for index, run in runs.items():
            trees[index] = self._tree(asks[index], run)
            run.cache.trim(len(asks[index].committed) - 1)
            self.inner.close(run.state)
        return trees

    def update(self, news: Sequence[News[Stage]]) -> None:
        """The next proposal catches up, with news from the inner model rather than the target's."""

    def close(self, state: Stage) -> None:
        self.inner.close(state.state)
        state.cache.close()

    def _catch_up(self, asks: Sequence[Ask[Stage]]) -> None:
        """Feeds what the target committed, all but the root, to the inner model and the inner drafter."""
        for ask in asks:
            behind = self._sequence(ask, ask.state.state, ask.stream)
            while (rest := len(ask.committed) - 1 - behind.cache.length) > 0:
                run_round(self.model, self.policy, [behind], chunk=min(rest, 512))

    def _run(self, ask: Ask[Stage]) -> Seq:
        """A generation of the inner model from the root on, to the depth of the budget."""
        ahead = self.inner.open(ask.state.request, parent=ask.state.state)
        stream = ask.stream.independent(0) if ask.draw == "sampled" else ask.stream
        return self._sequence(ask, ahead, stream)

    def _sequence(self, ask: Ask[Stage], state: object, stream: object) -> Seq:
        return Seq(
            request=ask.state.request,
            committed=list(ask.committed),
            cache=ask.state.cache,
            rules=replace(ask.rules, temperature=0.0) if ask.draw == "point" else ask.rules,
            stop=until(max(1, min(ask.budget.rows, ask.budget.depth))),
            stream=stream,
            verifier=Match(),
            sources=(Source("inner", self.inner, state),),
            keep_laws=True,
        )

    def _tree(self, ask: Ask[Stage], run: Seq) -> DraftTree:
        tokens = run.committed[len(ask.committed) :]
        laws = [law for step in run.steps for law in step.laws]
        found = totals([run])
        self.inner_steps.append((len(tokens), found.passes, found.accepted))
        score, sum_ = [], 0.0
        for token, law in zip(tokens, laws, strict=True):
            sum_ += math.log(law.prob(token))
            score.append(sum_)
        return DraftTree.chain(tokens, "staged", score=score, laws=laws if ask.draw == "sampled" else None)


class TestStagedLookup(DrafterChecks):
    @pytest.fixture
    def make_drafter(self) -> MakeDrafter:
        model = ToyModel(Tables.random(3, order=1, seed=31))
        return lambda: Staged(model, Lookup(Options(n=2)))


class TestStagedModel(DrafterChecks):
    """Three models deep: the inner drafter has a cache of its own."""

    prompts = ((0, 1, 1, 0, 1), (1, 1, 0, 1, 0, 1, 1), (1,))

    @pytest.fixture
    def target(self) -> Model:
        return ToyModel(Tables.random(2, order=1, seed=11))

    @pytest.fixture
    def make_drafter(self) -> MakeDrafter:
        model, smaller = (ToyModel(Tables.random(2, order=order, seed=32 + order)) for order in (1, 0))
        return lambda: Staged(model, ModelDrafter(smaller))


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_the_inner_speculation_works(temperature: float) -> None:
    """The inner model's passes are fewer than its tokens, and its drafts are what it would say alone."""
    target, model = ToyModel(Tables.random(5, order=1, seed=33)), ToyModel(Tables.random(5, order=1, seed=34))
    drafter = Staged(model, Lookup(Options(n=1)))
    requests = [Request((0, 1, 2, 0, 1, 2, 0, 1), seed, rules=Rules(temperature=temperature)) for seed in range(6)]
    sequences = [open_sequence(target, drafter, Match(), request, until(24)) for request in requests]
    drive(target, Constant(6), sequences)
    tokens, passes, accepted = (sum(column) for column in zip(*drafter.inner_steps, strict=True))
    assert accepted > 0
    assert passes < tokens
    assert 0 < totals(sequences).accepted < totals(sequences).drafted
    judge = Recompute(model)
    for sequence in sequences:
        for step in sequence.steps:
            text = list(sequence.request.prompt) + sequence.output[: step.position]
            rules, stream = sequence.request.rules, KeyedStream(sequence.request.seed)
            for depth, token in enumerate(step.tree.tokens):
                law = rules.law_of(judge.logits(tuple(text)))
                assert stream.at(step.position).ahead(depth).draw(law, Purpose.TARGET) == token
                text.append(token)


def test_sequences_share_the_inner_passes() -> None:
    """Drafting for many costs about as many inner passes as drafting for one, catching up apart."""
    target = ToyModel(Tables.random(3, order=1, seed=11))
    passes = []
    for count in (1, 6):
        model = ToyModel(Tables.random(3, order=1, seed=31))
        drafter = Staged(model, Lookup(Options(n=2)))
        requests = [Request((0, 1, 2), seed, rules=Rules(temperature=1.0)) for seed in range(count)]
        drive(target, Varied(), [open_sequence(target, drafter, Match(), request, until(12)) for request in requests])
        passes.append(model.passes)
    assert passes[1] < 6 * passes[0]
