"""A drafter with probe rows: positions it wants scored to learn from, which are no drafts (algorithms: lookahead)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pytest

from contract.drawing import totals
from foredraft.core.law import Point
from foredraft.core.protocols import Ask, Needs, News, Request
from foredraft.core.rules import Rules
from foredraft.core.tree import ROOT, DraftTree
from foredraft.engine.sequence import open_sequence
from foredraft.engine.stats import stats
from foredraft.models.toy import Tables, ToyModel
from foredraft.policy.constant import Constant
from foredraft.testing.drafters import DrafterChecks, MakeDrafter, until
from foredraft.testing.recompute import Recompute
from foredraft.testing.watch import drive
from foredraft.verify.match import Match
from foredraft.verify.recursive import Recursive

# Probe rows a round: a window of two guesses behind the root.
WINDOW = 2


@dataclass
class Pool:
    """follows: token -> what the target said after it, harvested from probes.

    read: text, likeliest tokens and their logits of every probe."""

    follows: dict[int, int] = field(default_factory=dict)
    read: list[tuple[tuple[int, ...], list[int], list[float]]] = field(default_factory=list)


class Window:
    """Spends part of its budget on probes, and drafts what they taught it."""

    needs = Needs(top=2)

    def open(self, request: Request, parent: Pool | None = None) -> Pool:
        return Pool(dict(parent.follows)) if parent is not None else Pool()

    def propose(self, asks: Sequence[Ask[Pool]]) -> list[DraftTree]:
        return [self._propose(ask) for ask in asks]

    def _propose(self, ask: Ask[Pool]) -> DraftTree:
        budget, last, follows = ask.budget, ask.committed[-1], ask.state.follows
        tokens, parents = list[int](), list[int]()
        while last in follows and len(tokens) < min(budget.rows - WINDOW, budget.depth):
            last = follows[last]
            parents.append(len(tokens) - 1)
            tokens.append(last)
        drafts = len(tokens)
        for step in range(min(WINDOW, budget.rows - drafts, budget.depth)):
            parents.append(ROOT if step == 0 else len(tokens) - 1)
            tokens.append((len(ask.committed) + step) % ask.vocab_size)
        probes = [node >= drafts for node in range(len(tokens))]
        size = ask.vocab_size if ask.draw == "sampled" else 0
        laws = [Point(token, size) if size and not probe else None for token, probe in zip(tokens, probes, strict=True)]
        return DraftTree.of(tokens, parents, "window", probes=probes, laws=laws)

    def update(self, news: Sequence[News[Pool]]) -> None:
        for told in news:
            before = len(told.committed) - len(told.tokens)
            for node, probe in enumerate(told.tree.probes):
                if probe:
                    row = told.row(node)
                    path = tuple(told.tree.tokens[step] for step in told.tree.path(node))
                    told.state.follows[path[-1]] = told.scores.argmax(row)
                    ids, logits = told.scores.top(row)
                    told.state.read.append(((*told.committed[:before], *path), ids.tolist(), logits.tolist()))

    def close(self, state: Pool) -> None:
        state.follows.clear()


class TestWindow(DrafterChecks):
    exact_rows = 3

    @pytest.fixture
    def make_drafter(self) -> MakeDrafter:
        return Window


@pytest.mark.parametrize("verifier", [Match(), Recursive()], ids=lambda verifier: type(verifier).__name__)
def test_probes_are_scored_and_never_accepted(verifier: object) -> None:
    """Their logits are those of their own paths; they are in no statistic, even when they guess right."""
    target = ToyModel(Tables.random(4, order=1, seed=41))
    judge, drafter = Recompute(target), Window()
    requests = [Request(prompt, 2, rules=Rules(temperature=0.5)) for prompt in ((0, 1, 2), (3,), (1, 1, 3, 2))]
    sequences = [open_sequence(target, drafter, verifier, request, until(20)) for request in requests]
    drive(target, Constant(5), sequences)
    right = 0
    for sequence in sequences:
        assert sequence.state.read
        for path, ids, logits in sequence.state.read:
            expected = judge.logits(path)
            assert ids == np.argsort(-expected, kind="stable")[:2].tolist(), f"the probe {list(path)}"
            assert logits == expected[ids].tolist()
        for step in sequence.steps:
            assert not any(step.tree.probes[node] for node in step.path)
            assert step.rows >= len(step.tree)
            assert step.drafted == len(step.tree) - sum(step.tree.probes)
            right += any(
                probe and parent == ROOT and token == step.tokens[0]
                for probe, parent, token in zip(step.tree.probes, step.tree.parents, step.tree.tokens, strict=True)
            )
    assert right > 0
    found = totals(sequences)
    assert 0 < found.accepted < found.drafted
    assert found.by_source == (("window", found.drafted, found.accepted),)


def test_a_round_of_probes_alone_drafts_nothing() -> None:
    target = ToyModel(Tables.random(4, order=1, seed=41))
    sequence = open_sequence(target, Window(), Match(), Request((0, 1, 2), 2), until(6))
    drive(target, Constant(WINDOW), [sequence])
    found = stats(sequence.steps)
    assert (found.drafted, found.drafts, found.by_depth, found.by_source) == (0, 0, (), ())
    assert all(sum(step.tree.probes) == WINDOW for step in sequence.steps[:3])
