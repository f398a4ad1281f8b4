"""A drafter on the target's hidden states: taps, embedding and head (algorithms: EAGLE)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pytest

from contract.drawing import draft_chain
from foredraft.core.protocols import Ask, Model, Needs, News, Query, Request, Scores, Vectors
from foredraft.core.round import run_round
from foredraft.core.rules import Logits, Rules
from foredraft.core.tree import EMPTY, DraftTree
from foredraft.draft.family import Provided
from foredraft.engine.sequence import fork, open_sequence
from foredraft.models.toy import Tables, ToyModel
from foredraft.testing.drafters import DrafterChecks, MakeDrafter, until
from foredraft.testing.recompute import Recompute
from foredraft.testing.watch import Varied, drive, feed
from foredraft.verify.match import Match


@dataclass
class Features:
    """taps: position -> hidden state of the token there. The newest token has none yet."""

    taps: dict[int, Vectors] = field(default_factory=dict)


class Eagle:
    """Goes on from the last hidden state and the token after it, which is one ahead."""

    def __init__(self, provided: Provided, layer: int) -> None:
        assert provided.ends is not None
        self.ends, self.layer = provided.ends, layer
        self.needs = Needs(taps=(layer,), ends=True)

    def open(self, request: Request, parent: Features | None = None) -> Features:
        return Features(dict(parent.taps) if parent is not None else {})

    def propose(self, asks: Sequence[Ask[Features]]) -> list[DraftTree]:
        return [self._propose(ask) for ask in asks]

    def update(self, news: Sequence[News[Features]]) -> None:
        for told in news:
            told.state.taps |= dict(enumerate(told.taps(self.layer), start=told.start))

    def close(self, state: Features) -> None:
        state.taps.clear()

    def _propose(self, ask: Ask[Features]) -> DraftTree:
        last = ask.state.taps.get(len(ask.committed) - 2)
        if last is None:  # the first pass, or a prompt that somebody else scored
            return EMPTY

        def logits_after(tokens: list[int]) -> Logits:
            hidden = last
            for token in (ask.committed[-1], *tokens):
                hidden = 0.5 * hidden + self.ends.embed([token])[0]
            return self.ends.head(hidden[None])[0]

        return draft_chain(ask, "eagle", logits_after)


class TestEagle(DrafterChecks):
    @pytest.fixture
    def make_drafter(self, target: Model) -> MakeDrafter:
        return lambda: Eagle(Provided(ends=target), target.about.layers)


@pytest.mark.parametrize("chunk", [1, 3, 512])
@pytest.mark.parametrize("layer", [0, 1, 2])
def test_taps_stand_at_their_positions(layer: int, chunk: int) -> None:
    """Each is what a pass over the text up to its own token alone gives; all but the newest token have one."""
    target = ToyModel(Tables.random(4, order=2, seed=7))
    judge, drafter = Recompute(target), Eagle(Provided(ends=target), layer)
    requests = [Request(prompt, 3, rules=Rules(temperature=1.0)) for prompt in ((0, 1, 2, 3, 1), (2,), (3, 3, 1, 0))]
    sequences = [open_sequence(target, drafter, Match(), request, until(12)) for request in requests]
    drive(target, Varied(), sequences, chunk=chunk)
    for sequence in sequences:
        text, taps = sequence.committed, sequence.state.taps
        assert sorted(taps) == list(range(len(text) - 1))
        for position, tap in taps.items():
            assert np.array_equal(tap, judge.taps(tuple(text[: position + 1]), layer))


def test_choices_begin_with_the_prompts_taps() -> None:
    target = ToyModel(Tables.random(4, order=2, seed=8))
    judge, drafter = Recompute(target), Eagle(Provided(ends=target), 1)
    first = open_sequence(target, drafter, Match(), Request((0, 1, 2, 3), 0, rules=Rules(temperature=1.0)), until(8))
    feed(target, Varied(), first, 2)
    others = [fork(first, choice) for choice in (1, 2)]
    drive(target, Varied(), [first, *others])
    for sequence in (first, *others):
        assert sorted(sequence.state.taps) == list(range(len(sequence.committed) - 1))
        for position, tap in sequence.state.taps.items():
            assert np.array_equal(tap, judge.taps(tuple(sequence.committed[: position + 1]), 1))


class Forgetful(Eagle):
    def update(self, news: Sequence[News[Features]]) -> None:
        raise RuntimeError("lost track")


def test_nothing_is_tapped_for_a_drafter_that_failed() -> None:
    """Once it has lost track, its needs are nobody's: the target is not asked for hidden states any more."""

    class Tapped(ToyModel):
        taps: list[tuple[int, ...]] = []

        def score(self, queries: Sequence[Query]) -> list[Scores]:
            self.taps += [query.taps for query in queries]
            return super().score(queries)

    target = Tapped(Tables.random(4, order=2, seed=8))
    sequence = open_sequence(target, Forgetful(Provided(ends=target), 1), Match(), Request((0, 1), 0), until(5))
    while not sequence.finished:
        run_round(target, Varied(), [sequence])
    assert target.taps == [(1,), (), (), (), ()]
