"""What a broken drafter may do: cost speed, and be reported; the text stays."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import pytest

from cases import Broken, Double, Fixed, Top
from foredraft.core.protocols import Ask, Needs, News, Request
from foredraft.core.rules import Rules
from foredraft.core.tree import DraftTree
from foredraft.draft.none import Nothing
from foredraft.engine.stats import stats
from foredraft.verify.recursive import Recursive
from rounds import DRAFT, PLAIN, VOCAB, opened, run


def _raise(ask: Ask[Any]) -> DraftTree:
    raise ZeroDivisionError("no draft today")


@pytest.mark.parametrize(
    ("what", "fault"),
    [
        (_raise, "ZeroDivisionError: no draft today"),
        (lambda ask: DraftTree.chain([0] * (ask.budget.rows + 1), "x"), "DraftError: 5 nodes were drafted"),
        (lambda ask: DraftTree.chain([VOCAB], "x"), "DraftError: token 8 lies outside"),
        (lambda ask: DraftTree.of([1], [0], "x"), "DraftError: node 0 has parent 0"),
        (lambda ask: "no tree", "AttributeError"),
    ],
)
def test_a_broken_draft_costs_speed_and_is_reported(what: Any, fault: str) -> None:
    sequence = opened(Broken(what))
    assert run(sequence) == PLAIN
    faults = stats(sequence.steps).faults
    assert len(faults) == len(PLAIN) - 1  # at the last token nothing is asked for
    assert all(found.startswith(fault) for found in faults)


def test_too_few_trees_are_a_fault() -> None:
    class Absent(Double):
        def propose(self, asks: Sequence[Ask[Any]]) -> list[DraftTree]:
            return []

    sequence = opened(Absent(DRAFT, ()))
    assert run(sequence) == PLAIN
    assert stats(sequence.steps).faults[0] == "DraftError: 0 trees were drafted for 1 asks"


def test_a_draft_without_laws_is_a_fault_where_laws_are_needed() -> None:
    sequence = opened(Fixed(DraftTree.chain([1], "x")), Recursive(), rules=Rules())
    assert run(sequence) == run(opened(Nothing(), rules=Rules()))
    assert "carries no law" in stats(sequence.steps).faults[0]


def test_a_drafter_that_cannot_take_the_news_is_given_up() -> None:
    class Deaf(Top):
        closed = 0

        def update(self, news: Sequence[News[Any]]) -> None:
            raise KeyError("what")

        def close(self, state: object) -> None:
            self.closed += 1

    deaf = Deaf(DRAFT, (1,))
    sequence = opened(deaf)
    assert run(sequence) == PLAIN
    assert (sequence.state, deaf.closed) == (None, 1)
    total = stats(sequence.steps)
    assert (total.drafts, len(total.faults)) == (1, 1)
    sequence.close()
    assert deaf.closed == 1


def test_a_drafter_that_fails_to_open_or_close_costs_no_text() -> None:
    class Closed(Top):
        def open(self, request: Request, parent: object = None) -> object:
            raise OSError("not today")

    class Clinging(Top):
        def close(self, state: object) -> None:
            raise OSError("not yet")

    closed = opened(Closed(DRAFT, (1,)))
    assert run(closed) == PLAIN
    assert stats(closed.steps).faults == ("OSError: not today",)
    assert stats(closed.steps).drafted == 0
    clinging = opened(Clinging(DRAFT, (1,)))
    assert run(clinging) == PLAIN
    clinging.close()
    assert (clinging.state, clinging.cache.length) == (None, 0)


def test_a_drafter_that_works_ahead_does_so_beside_the_pass() -> None:
    class Eager(Top):
        needs = Needs(ahead=True)
        threads: list[str] = []

        def ahead(self, asks: Sequence[Ask[Any]], trees: Sequence[DraftTree]) -> None:
            assert len(asks) == len(trees) == 1
            self.threads.append(threading.current_thread().name)
            if len(self.threads) == 2:
                raise RuntimeError("too eager")

    eager = Eager(DRAFT, (2,))
    sequence = opened(eager)
    assert run(sequence) == PLAIN
    assert threading.main_thread().name not in eager.threads
    assert len(eager.threads) == sum(step.drafted > 0 for step in sequence.steps)
    assert stats(sequence.steps).faults == ("RuntimeError: too eager",)
