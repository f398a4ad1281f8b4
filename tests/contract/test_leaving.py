"""A policy may let a source go for the rest of a text: it is closed, not asked or told again, and no token changes."""

from __future__ import annotations

from typing import Any

from foredraft.core.protocols import Budget, Load, Request
from foredraft.core.rules import Rules
from foredraft.core.stream import KeyedStream
from foredraft.core.tree import DraftTree
from foredraft.draft.lookup import Lookup, Options
from foredraft.engine.loop import generate
from foredraft.engine.sequence import open_sequence
from foredraft.models.toy import Tables, ToyModel
from foredraft.policy.constant import Constant
from foredraft.testing.drafters import until
from foredraft.testing.watch import plain_text
from foredraft.verify.match import Match

REQUEST = Request((0, 1, 2, 0, 1), 9, rules=Rules(temperature=1.0))


class Counting(Lookup):
    """Counts what it is called for."""

    def __init__(self) -> None:
        super().__init__(Options(n=2))
        self.asked = self.told = self.closed = 0

    def propose(self, asks: Any) -> list[DraftTree]:
        self.asked += 1
        return super().propose(asks)

    def update(self, news: Any) -> None:
        self.told += 1
        super().update(news)

    def close(self, state: Any) -> None:
        self.closed += 1
        super().close(state)


class Leaving(Constant):
    """Lets the first source go at once."""

    def budget(self, state: Constant, source: str, so_far: DraftTree, load: Load) -> Budget:
        return Budget(0, 0, leave=True) if source == "first" else super().budget(state, source, so_far, load)


def test_a_source_that_is_let_go_is_closed_and_the_others_draft_on() -> None:
    target, first, second = ToyModel(Tables.random(4, seed=7)), Counting(), Counting()
    sequence = open_sequence(target, {"first": first, "second": second}, Match(), REQUEST, until(24))
    for _ in generate(target, Leaving(4), [sequence]):
        pass
    sequence.close()
    assert (first.asked, first.told, first.closed) == (0, 0, 1)
    assert second.asked > 3
    assert second.told == len(sequence.steps)
    assert second.closed == 1
    assert all(step.fault is None for step in sequence.steps)
    assert sequence.output == list(plain_text(target, REQUEST, until(24), KeyedStream(9)))
