"""A drafter that wants the likeliest tokens of every verified row, rejected ones too (algorithms: token recycling)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest

from foredraft.core.protocols import Ask, Needs, News, Request
from foredraft.core.rules import Rules
from foredraft.core.tree import ROOT, DraftTree
from foredraft.engine.sequence import open_sequence
from foredraft.models.toy import Tables, ToyModel
from foredraft.testing.drafters import DrafterChecks, MakeDrafter, until
from foredraft.testing.recompute import Recompute
from foredraft.testing.watch import Varied, drive
from foredraft.verify.match import Match

WIDTH = 2


@dataclass
class Successors:
    after: dict[int, tuple[int, ...]] = field(default_factory=dict)
    seen: list[tuple[tuple[int, ...], tuple[int, ...]]] = field(default_factory=list)


class Recycling:
    needs = Needs(top=WIDTH)

    def open(self, request: Request, parent: Successors | None = None) -> Successors:
        return Successors(dict(parent.after)) if parent is not None else Successors()

    def propose(self, asks: Sequence[Ask[Successors]]) -> list[DraftTree]:
        return [self._propose(ask) for ask in asks]

    def _propose(self, ask: Ask[Successors]) -> DraftTree:
        tokens, parents, frontier = list[int](), list[int](), [ROOT]
        for _ in range(min(ask.budget.depth, 2)):
            grown: list[int] = []
            for node in frontier:
                last = ask.committed[-1] if node == ROOT else tokens[node]
                for token in ask.state.after.get(last, ())[: ask.budget.rows - len(tokens)]:
                    grown.append(len(tokens))
                    tokens.append(token)
                    parents.append(node)
            frontier = grown
        tree = DraftTree.of(tokens, parents, "recycling")
        return tree.with_point_laws(ask.vocab_size) if ask.draw == "sampled" else tree

    def update(self, news: Sequence[News[Successors]]) -> None:
        for told in news:
            if told.verdict is None:  # a chunk of the prompt: no row of it was verified
                continue
            text = tuple(told.committed[: len(told.committed) - len(told.tokens)])
            for node in (ROOT, *range(len(told.tree))):
                path = (*text, *(told.tree.tokens[step] for step in (told.tree.path(node) if node != ROOT else ())))
                ids, _ = told.scores.top(told.row(node))
                told.state.after[path[-1]] = tuple(int(token) for token in ids)
                told.state.seen.append((path, tuple(int(token) for token in ids)))

    def close(self, state: Successors) -> None:
        state.after.clear()


class TestRecycling(DrafterChecks):
    exact_rows = 3

    @pytest.fixture
    def make_drafter(self) -> MakeDrafter:
        return Recycling


def test_the_rows_are_those_of_the_nodes() -> None:
    """Of root, accepted and rejected nodes, behind chunked prompts and in a batch."""
    target = ToyModel(Tables.random(5, order=2, seed=71))
    judge = Recompute(target)
    requests = [Request(prompt, 1, rules=Rules(temperature=1.0)) for prompt in ((0, 1, 2, 3, 4), (4,), (2, 2, 0))]
    sequences = [open_sequence(target, Recycling(), Match(), request, until(12)) for request in requests]
    drive(target, Varied(), sequences, chunk=2)
    for sequence in sequences:
        assert len(sequence.state.seen) > len(sequence.output)
        for path, ids in sequence.state.seen:
            logits = judge.logits(path)
            assert ids == tuple(sorted(range(5), key=lambda token, row=logits: (-row[token], token))[:WIDTH])
