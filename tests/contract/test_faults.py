"""Drafters that break their contract in every way: the text is that of plain decoding, and the steps say what happened.

A drafter that raises takes down the drafts of its whole batch for that round, for nobody knows whose fault it was; one
that proposes nonsense for one sequence leaves the drafts of the others alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from contract.drawing import totals
from foredraft.core.law import Dense, Point
from foredraft.core.protocols import AnyDrafter, Ask, Model, Needs, News, Request, Verifier
from foredraft.core.round import run_round
from foredraft.core.rules import Rules
from foredraft.core.sequence import Sequence as Seq
from foredraft.core.stream import KeyedStream
from foredraft.core.tree import DraftTree
from foredraft.draft.lookup import Lookup, Options
from foredraft.engine.sequence import open_sequence
from foredraft.models.toy import Tables, ToyModel
from foredraft.policy.constant import Constant
from foredraft.testing.drafters import until
from foredraft.testing.watch import plain_text
from foredraft.verify.match import Match
from foredraft.verify.recursive import Recursive

VOCAB = 4
PROMPTS = ((0, 1, 2, 0, 1), (3, 1, 3, 1), (2, 2, 2))
POLICY = Constant(4)


class Spoilt:
    """Lookup, spoilt for the prompts in `victims` by what the test puts in its methods."""

    needs = Needs()

    def __init__(self, victims: Sequence[tuple[int, ...]] = PROMPTS) -> None:
        self.inner, self.victims, self.closed = Lookup(Options(n=2)), victims, 0

    def open(self, request: Request, parent: Any = None) -> Any:
        return [request.prompt, self.inner.open(request, parent[1] if parent else None)]

    def propose(self, asks: Sequence[Ask[Any]]) -> list[DraftTree]:
        trees = self.inner.propose([replace(ask, state=ask.state[1]) for ask in asks])
        victims = [ask.state[0] in self.victims for ask in asks]
        return [self.spoil(ask, tree) if bad else tree for ask, tree, bad in zip(asks, trees, victims, strict=True)]

    def spoil(self, ask: Ask[Any], tree: DraftTree) -> Any:
        return tree

    def update(self, news: Sequence[News[Any]]) -> None:
        self.inner.update([replace(told, state=told.state[1]) for told in news])

    def close(self, state: Any) -> None:
        self.closed += 1


def chain(count: int, **fields: Any) -> DraftTree:
    return replace(DraftTree.chain([0] * count, "bad"), **fields)


def law(size: int) -> Dense:
    return Dense(np.full(size, 1 / size))


Spoil = Callable[[Ask[Any]], Any]
# What a drafter proposes instead of a tree, and what the fault must say.
NONSENSE: dict[str, tuple[Spoil, str]] = {
    "token too large": (lambda ask: chain(1, tokens=(VOCAB,)), "outside the vocabulary"),
    "token too small": (lambda ask: chain(1, tokens=(-1,)), "outside the vocabulary"),
    "token of numpy": (lambda ask: chain(1, tokens=(np.int64(1),)), "DraftError"),
    "token of floats": (lambda ask: chain(1, tokens=(1.0,)), "DraftError"),
    "token of text": (lambda ask: chain(1, tokens=("a",)), "Error"),
    "too many nodes": (lambda ask: chain(ask.budget.rows + 1), "were drafted where"),
    "too deep": (lambda ask: chain(ask.budget.depth + 1), "Error"),
    "a cycle": (lambda ask: chain(2, parents=(1, 0)), "does not come before"),
    "its own parent": (lambda ask: chain(2, parents=(-1, 1)), "does not come before"),
    "no such parent": (lambda ask: chain(1, parents=(-2,)), "does not come before"),
    "ragged fields": (lambda ask: chain(2, score=(0.0,)), "tuples of one length"),
    "a law too small": (lambda ask: chain(1, laws=(law(VOCAB - 1),)), "cannot have been drawn"),
    "a law too large": (lambda ask: chain(1, laws=(law(VOCAB + 1),)), "cannot have been drawn"),
    "another token's law": (lambda ask: chain(1, laws=(Point(1, VOCAB),)), "cannot have been drawn"),
    "laws that are none": (lambda ask: chain(1, laws=("law",)), "Error"),
    "no tree": (lambda ask: None, "Error"),
    "a list": (lambda ask: [0, 1], "Error"),
}


def opened(target: Model, drafter: AnyDrafter, verifier: Verifier, temperature: float = 1.0) -> list[Seq]:
    requests = [Request(prompt, 9, rules=Rules(temperature=temperature)) for prompt in PROMPTS]
    return [open_sequence(target, drafter, verifier, request, until(16)) for request in requests]


def finish(target: Model, sequences: Sequence[Seq], chunk: int = 512) -> None:
    while active := [sequence for sequence in sequences if not sequence.finished]:
        run_round(target, POLICY, active, chunk=chunk)


def assert_plain(target: Model, sequences: Sequence[Seq]) -> None:
    for sequence in sequences:
        assert sequence.output == list(plain_text(target, sequence.request, until(16), KeyedStream(9)))


def table() -> Model:
    return ToyModel(Tables.random(VOCAB, order=1, seed=51))


@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize("kind", NONSENSE)
def test_nonsense_for_one_leaves_the_others_alone(kind: str, temperature: float) -> None:
    """The bad sequence is decoded plainly, round by round; the others draft as they would without it."""
    spoil, message = NONSENSE[kind]
    target, drafter = table(), Spoilt(victims=PROMPTS[1:2])
    drafter.spoil = lambda ask, tree: spoil(ask)  # type: ignore[method-assign]
    sequences = opened(target, drafter, Match(), temperature)
    finish(target, sequences)
    assert_plain(target, sequences)
    good, bad = totals(sequences[::2]), totals(sequences[1:2])
    assert bad.drafted == 0
    assert len(bad.faults) == len(sequences[1].steps) - 1  # the last token has no room for drafts
    assert all(message in fault for fault in bad.faults)
    assert good.faults == ()
    assert good.accepted > 0
    sound = opened(target, Lookup(Options(n=2)), Match(), temperature)
    finish(target, sound)
    for mine, other in zip(sequences[::2], sound[::2], strict=True):
        assert [step.tree for step in mine.steps] == [step.tree for step in other.steps]


@pytest.mark.parametrize("kind", NONSENSE)
def test_nonsense_for_a_ratio_verifier(kind: str) -> None:
    """Nothing of it is verified: with every draft refused the verifier draws from the target alone."""
    spoil, _ = NONSENSE[kind]
    target, drafter = table(), Spoilt()
    drafter.spoil = lambda ask, tree: spoil(ask)  # type: ignore[method-assign]
    sequences = opened(target, drafter, Recursive())
    plainly = opened(target, Spoilt(victims=()), Recursive())
    for sequence in plainly:
        sequence.release()
    finish(target, sequences)
    finish(target, plainly)
    assert [sequence.output for sequence in sequences] == [sequence.output for sequence in plainly]
    assert len(totals(sequences).faults) > 0


class Raises(Spoilt):
    """Raises in `method` whenever a victim is in the batch, on every call from the `nth` on."""

    def __init__(self, method: str, nth: int = 0, error: type[Exception] = ZeroDivisionError) -> None:
        super().__init__(PROMPTS[1:2])
        self.method, self.nth, self.error, self.calls = method, nth, error, 0

    def propose(self, asks: Sequence[Ask[Any]]) -> list[DraftTree]:
        self._raise("propose", asks)
        trees = super().propose(asks)
        return {"fewer": trees[:-1], "more": [*trees, DraftTree()], "none": None}.get(self.method, trees)

    def update(self, news: Sequence[News[Any]]) -> None:
        self._raise("update", news)
        super().update(news)

    def close(self, state: Any) -> None:
        super().close(state)
        if self.method == "update":
            raise self.error("close fails as well")

    def _raise(self, method: str, batch: Sequence[Any]) -> None:
        if method == self.method and any(item.state[0] in self.victims for item in batch):
            self.calls += 1
            if self.calls > self.nth:
                raise self.error("oh no")


@pytest.mark.parametrize("error", [ZeroDivisionError, KeyError, MemoryError, StopIteration])
def test_propose_raises(error: type[Exception]) -> None:
    """From its third call on, whenever the bad sequence is asked for: that one drafts no more, the others go on."""
    target = table()
    sequences = opened(target, Raises("propose", 2, error), Match())
    finish(target, sequences)
    assert_plain(target, sequences)
    bad = sequences[1]
    assert totals([bad]).drafted > 0
    assert bad.steps[0].fault is None
    assert bad.steps[3].fault is not None
    assert all(error.__name__ in fault for fault in totals([bad]).faults)
    assert bad.state is not None  # a drafter that fails to propose has lost nothing
    for good in (sequences[0], *sequences[2:]):
        assert not totals([good]).faults
        assert totals([good]).accepted > 0


@pytest.mark.parametrize("method", ["fewer", "more", "none"])
def test_a_wrong_number_of_trees(method: str) -> None:
    target = table()
    sequences = opened(target, Raises(method), Match())
    finish(target, sequences)
    assert_plain(target, sequences)
    assert totals(sequences).drafted == 0
    assert len(totals(sequences).faults) > 0


@pytest.mark.parametrize("chunk", [2, 512])
def test_update_raises(chunk: int) -> None:
    """It has lost track: its sequences of that pass are closed and decoded plainly, once with a fault, then without."""
    target, drafter = table(), Raises("update", 1)
    sequences = opened(target, drafter, Match())
    finish(target, sequences, chunk)
    assert_plain(target, sequences)
    for sequence in sequences:
        assert sequence.state is None
        assert len(totals([sequence]).faults) == 1
        failed = next(index for index, step in enumerate(sequence.steps) if step.fault is not None)
        assert all(len(step.tree) == 0 for step in sequence.steps[failed + 1 :])
    assert drafter.closed == len(sequences)
    for sequence in sequences:
        sequence.close()
    assert drafter.closed == len(sequences)


def test_two_drafters_fail_apart() -> None:
    """Sequences of one pass may have different drafters; one that raises harms its own alone."""
    target = table()
    bad, good = opened(target, Raises("propose"), Match()), opened(target, Lookup(Options(n=2)), Match())
    finish(target, [*bad, *good])
    assert_plain(target, [*bad, *good])
    assert totals(bad[1:2]).drafted == 0
    assert totals(good).faults == ()
    assert totals(good).accepted > 0


class RefusesToOpen(Spoilt):
    def open(self, request: Request, parent: Any = None) -> Any:
        if request.prompt in self.victims:
            raise ValueError("not this one")
        return super().open(request, parent)


class HasNoState(Spoilt):
    """As the author of a drafter without a state might write it."""

    def open(self, request: Request, parent: Any = None) -> Any:
        return super().open(request, parent) if request.prompt not in self.victims else None


@pytest.mark.parametrize("broken", [RefusesToOpen, HasNoState])
def test_no_state_is_a_fault(broken: type[Spoilt]) -> None:
    """Told once, with the first step; the sequence is decoded plainly and the others draft."""
    target = table()
    sequences = opened(target, broken(PROMPTS[1:2]), Match())
    finish(target, sequences)
    assert_plain(target, sequences)
    assert len(totals(sequences[1:2]).faults) == 1
    assert sequences[1].steps[0].fault is not None
    assert totals(sequences[1:2]).drafted == 0
    assert totals(sequences[::2]).accepted > 0


@pytest.mark.parametrize("method", ["propose", "update", "fewer", "none"])
@pytest.mark.parametrize("broken", ["first", "second"])
def test_of_several_sources_one_that_fails_leaves_the_others(method: str, broken: str) -> None:
    """Its fault is reported, the other source drafts on, and the text is plain decoding's."""
    target = table()
    drafters: dict[str, AnyDrafter] = {"good": Lookup(Options(n=2)), "bad": Raises(method, 1)}
    if broken == "first":
        drafters = dict(reversed(drafters.items()))
    request = Request(PROMPTS[1], 9, rules=Rules(temperature=1.0))
    sequence = open_sequence(target, drafters, Match(), request, until(16))
    finish(target, [sequence])
    assert_plain(target, [sequence])
    assert len(totals([sequence]).faults) >= 1
    drafting = {source for step in sequence.steps for source in step.tree.sources}
    assert any("lookup" in source for source in drafting)


def test_nonsense_of_one_source_is_left_out_of_the_tree() -> None:
    target, bad = table(), Spoilt()
    bad.spoil = lambda ask, tree: chain(ask.budget.rows + 1)  # type: ignore[method-assign]
    request = Request(PROMPTS[0], 9, rules=Rules(temperature=1.0))
    sequence = open_sequence(target, {"bad": bad, "good": Lookup(Options(n=2))}, Match(), request, until(16))
    finish(target, [sequence])
    assert_plain(target, [sequence])
    assert len(totals([sequence]).faults) > 0
    assert {source for step in sequence.steps for source in step.tree.sources} == {"lookup"}
