"""Sequences at different phases in one pass, chunked prompts, and several choices of one prompt."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from contract.drawing import totals
from foredraft.core.protocols import AnyDrafter, Query, Request, Scores, Verifier
from foredraft.core.round import run_round
from foredraft.core.rules import Rules
from foredraft.core.sequence import Sequence as Seq
from foredraft.core.stream import KeyedStream
from foredraft.draft.lookup import Lookup, Options
from foredraft.draft.model import ModelDrafter
from foredraft.draft.none import Nothing
from foredraft.engine.loop import generate, prefill
from foredraft.engine.sequence import fork, open_sequence
from foredraft.models.toy import Tables, ToyModel
from foredraft.policy.constant import Constant
from foredraft.testing.drafters import until
from foredraft.testing.watch import drive, plain_text
from foredraft.verify.match import Match
from foredraft.verify.recursive import Recursive

POLICY = Constant(3)
LONG, MIDDLE, SHORT = (0, 1, 2, 3) * 4, (3, 2, 1, 0, 3, 2), (1,)


class Watching(ToyModel):
    """Notes how many sequences and rows each pass had."""

    def __init__(self) -> None:
        super().__init__(Tables.random(4, order=2, seed=61))
        self.seen: list[list[int]] = []

    def score(self, queries: Sequence[Query]) -> list[Scores]:
        self.seen.append([len(query.tokens) for query in queries])
        return super().score(queries)


def drafters() -> list[AnyDrafter]:
    return [Lookup(Options(n=2)), ModelDrafter(ToyModel(Tables.random(4, order=1, seed=62)), (2, 1)), Nothing()]


def begin(target: ToyModel, drafter: AnyDrafter, prompt: tuple[int, ...], seed: int = 0, **more: Verifier) -> Seq:
    request = Request(prompt, seed, rules=Rules(temperature=1.0))
    return open_sequence(target, drafter, more.get("verifier", Match()), request, until(12))


def plainly(target: ToyModel, sequence: Seq) -> list[int]:
    request = sequence.request
    return list(plain_text(target, request, until(12), KeyedStream(request.seed, request.choice)))


def test_phases_share_a_pass() -> None:
    """One sequence is in its prompt, one verifies, one joins late, each with a drafter of its own: one pass a round."""
    target = Watching()
    sequences = [begin(target, drafter, prompt) for drafter, prompt in zip(drafters(), (LONG, SHORT), strict=False)]
    for rounds in range(40):
        if rounds == 2:
            sequences.append(begin(target, drafters()[2], MIDDLE))
        active = [sequence for sequence in sequences if not sequence.finished]
        if not active:
            break
        before = target.passes
        steps = run_round(target, POLICY, active, chunk=4)
        assert target.passes == before + 1
        assert len(steps) == len(active)
        if rounds < 3:
            assert steps[0].tokens == ()  # still in its prompt of 16
            assert steps[0].rows == 4
            assert len(steps[1].tokens) > 0
    assert all(sequence.finished for sequence in sequences)
    assert any(len(rows) == 3 for rows in target.seen)
    for sequence in sequences:
        assert sequence.output == plainly(target, sequence)


@pytest.mark.parametrize("chunk", [1, 2, 3, 5, 16, 17])
def test_chunks_change_nothing(chunk: int) -> None:
    """Nor do they change how much is fed in all: every committed token once, then the drafts."""
    for verifier in (Match(), Recursive()):
        target, at_once = Watching(), Watching()
        chunked = [begin(target, drafter, LONG, verifier=verifier) for drafter in drafters()]
        whole = [begin(at_once, drafter, LONG, verifier=verifier) for drafter in drafters()]
        drive(target, POLICY, chunked, chunk=chunk)
        drive(at_once, POLICY, whole)
        assert all(rows <= chunk + 3 for passed in target.seen for rows in passed)
        for mine, other in zip(chunked, whole, strict=True):
            if isinstance(verifier, Match) or isinstance(mine.sources[0].drafter, Nothing):
                assert mine.output == other.output
            fed = sum(step.rows - len(step.tree) + len(step.path) for step in mine.steps)
            assert fed >= len(mine.committed) - 1


def test_prefill_stops_before_the_root() -> None:
    target = Watching()
    sequence = begin(target, Lookup(Options()), LONG)
    steps = list(prefill(target, POLICY, sequence))
    assert all(step.tokens == () for step in steps)
    assert sequence.cache.length == len(LONG) - 1
    assert sequence.output == []
    assert list(prefill(target, POLICY, begin(target, Lookup(Options()), SHORT))) == []


@pytest.mark.parametrize("index", range(3))
def test_choices_share_the_prompt(index: int) -> None:
    """Each of n choices is the text of its own noise, however they are batched; the prompt is scored once."""
    target = Watching()
    first = begin(target, drafters()[index], LONG, seed=5)
    list(prefill(target, POLICY, first))
    prompt_passes = target.passes
    choices = [first, *(fork(first, choice) for choice in (1, 2, 3))]
    for _ in generate(target, POLICY, choices):
        pass
    assert all(sum(rows) <= 4 * (1 + 3) for rows in target.seen[prompt_passes:])
    texts = [tuple(sequence.output) for sequence in choices]
    assert len(set(texts)) > 1
    for choice, sequence in enumerate(choices):
        assert sequence.request.choice == choice
        assert sequence.output == plainly(target, sequence)
    alone = fork_alone(target, index, 2)
    assert alone.output == choices[2].output
    if index < 2:
        assert totals(choices).accepted > 0


def fork_alone(target: ToyModel, index: int, choice: int) -> Seq:
    """The same choice without the others beside it."""
    first = begin(target, drafters()[index], LONG, seed=5)
    list(prefill(target, POLICY, first))
    heir = fork(first, choice)
    first.close()
    drive(target, POLICY, [heir])
    return heir


def test_the_order_of_a_batch_does_not_matter() -> None:
    target = Watching()
    prompts = (LONG, SHORT, MIDDLE)
    texts = []
    for order in ((0, 1, 2), (2, 0, 1), (1, 2, 0)):
        drafter = ModelDrafter(ToyModel(Tables.random(4, order=1, seed=62)))
        sequences = {index: begin(target, drafter, prompts[index], verifier=Recursive()) for index in order}
        drive(target, POLICY, list(sequences.values()), chunk=3)
        texts.append([sequences[index].output for index in range(3)])
    assert texts[0] == texts[1] == texts[2]
