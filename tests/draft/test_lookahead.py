"""Lookahead decoding against the algorithm written down with whole texts in place of a mask."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from foredraft.core.errors import UsageError
from foredraft.core.law import Point
from foredraft.core.protocols import Ask, Budget, Draw, Request
from foredraft.core.rules import Rules
from foredraft.core.stream import KeyedStream
from foredraft.core.tree import EMPTY, ROOT, DraftTree, check
from foredraft.draft import specify
from foredraft.draft.lookahead import GOES_ON, RIGHT, Lookahead, Options, Window
from foredraft.engine.sequence import open_sequence
from foredraft.engine.stats import stats
from foredraft.models.toy import NGrams, Tables, ToyModel
from foredraft.policy.constant import Constant
from foredraft.testing.drafters import DrafterChecks, MakeDrafter, until
from foredraft.testing.recompute import Recompute
from foredraft.testing.watch import drive
from foredraft.verify.match import Match

VOCAB = 7


@pytest.mark.parametrize(
    "options", [Options(w=2, n=2, g=2), Options(w=2, n=3, g=2, prompt=True)], ids=["pairs", "triples"]
)
class TestLookahead(DrafterChecks):
    exact_rows = 4

    @pytest.fixture
    def make_drafter(self, options: Options) -> MakeDrafter:
        return lambda: Lookahead(options)


def ask(state: Window, text: Sequence[int], rows: int, depth: int = 20, draw: Draw = "coupled") -> Ask[Window]:
    return Ask(state, list(text), Rules(), Budget(rows, depth), draw, KeyedStream(0), VOCAB)


def paths(tree: DraftTree, probes: bool) -> list[tuple[int, ...]]:
    """The token paths of the probes, or of the drafts, in the order of the nodes."""
    return [
        tuple(tree.tokens[step] for step in tree.path(node)) for node in range(len(tree)) if tree.probes[node] == probes
    ]


def seen(levels: Sequence[Sequence[int]], level: int, column: int) -> tuple[int, ...]:
    """What the row of a level and a column sees after the root, by the paper's mask, itself included."""
    return (*levels[0][: column + 1], *(levels[above][column] for above in range(1, level + 1)))


def test_the_window_has_the_papers_mask_and_positions() -> None:
    """W = 3, N = 4. Row (l, i) sees the root, level 0 up to i and its own column; it stands at 1 + i + l."""
    levels = [[0, 1, 2], [3, 1, 5], [6, 0, 4]]
    window = Window([[level[column] for level in levels] for column in range(3)])
    (tree,) = Lookahead(Options(w=3, n=4, g=3)).propose([ask(window, [5], 18)])
    check(tree, VOCAB, 18, 20, needs_laws=False)
    rows = [(0, 0), (0, 1), (0, 2), (1, 0), (2, 0), (1, 1), (2, 1), (1, 2), (2, 2)]
    assert paths(tree, probes=True) == [seen(levels, level, column) for level, column in rows]
    assert tree.depths == tuple(1 + column + level for level, column in rows)
    assert tree.drafted == 0


def test_a_worked_example() -> None:
    """The target counts 0 … 6 and again; W = 2, N = 3, G = 2, the prompt 0 3 leaves the window at 0 3.

    Pass 1, root 3: level 0 holds 0 3, the target says 1 and 4 after them: level 1. No n-gram yet; 4 is emitted.
    Pass 2, root 4: columns 0 1 and 3 4, after which it says 2 and 5: the n-grams 0 1 2 and 3 4 5 are kept, the window
    moves down to 1 2 and 4 5. 5 is emitted.
    Pass 3, root 5: 3 and 6 come, 1 2 3 and 4 5 6 are kept, and 6 is emitted. Pass 4, root 6: 2 3 4, 5 6 0, then 0.
    Pass 5, root 0: the n-gram 0 1 2 is drafted and right, so 1 2 3 are emitted.
    """
    target = ToyModel(NGrams.fit([list(range(VOCAB)) * 8], VOCAB))
    sequence = open_sequence(target, Lookahead(Options(w=2, n=3, g=2)), Match(), Request((0, 3), 0), until(20))
    window = sequence.state
    assert window.columns == [[0], [3]]
    columns = []
    for _ in range(5):
        drive(target, Constant(8), [sequence], rounds=1)
        columns.append([column.copy() for column in window.columns])
    assert columns == [[[0, 1], [3, 4]], [[1, 2], [4, 5]], [[2, 3], [5, 6]], [[3, 4], [6, 0]], [[4, 5], [0, 1]]]
    assert [step.tokens for step in sequence.steps] == [(4,), (5,), (6,), (0,), (1, 2, 3)]
    assert window.pool == {
        0: [(1, 2)],
        3: [(4, 5)],
        1: [(2, 3)],
        4: [(5, 6)],
        2: [(3, 4)],
        5: [(6, 0)],
        6: [(0, 1)],
    } | {3: [(4, 5)]}
    assert (sequence.steps[-1].drafted, sequence.steps[-1].accepted) == (2, 2)


class Twin:
    """The algorithm over whole levels: a matrix for the window, a list of n-grams for the pool."""

    def __init__(self, judge: Recompute, prompt: Sequence[int], w: int, n: int, g: int) -> None:
        self.judge, self.w, self.n, self.g = judge, w, n, g
        self.levels = [[prompt[column * len(prompt) // w] for column in range(w)]]
        self.kept: list[tuple[int, ...]] = []

    def drafts(self, root: int) -> list[tuple[int, ...]]:
        """The latest n-grams that begin with the root, without it, the latest first."""
        return [gram[1:] for gram in reversed(self.kept) if gram[0] == root][: self.g]

    def step(self, text: Sequence[int]) -> None:
        last = len(self.levels) - 1
        new = [int(np.argmax(self.judge.logits((*text, *seen(self.levels, last, column))))) for column in range(self.w)]
        self.levels.append(new)
        if len(self.levels) == self.n:
            for gram in zip(*self.levels, strict=True):
                self.kept = [other for other in self.kept if other != gram] + [gram]
                same = [other for other in self.kept if other[0] == gram[0]]
                for other in same[: -self.g]:
                    self.kept.remove(other)
            del self.levels[0]


def test_a_thousand_passes_are_those_of_the_algorithm() -> None:
    generator = np.random.default_rng(3)
    passes = drafted = accepted = 0
    for seed in range(60):
        target = ToyModel(Tables.random(VOCAB, order=1 + seed % 2, seed=seed), context=96)
        w, n, g = (int(each) for each in generator.integers((1, 2, 1), (5, 5, 4)))
        prompt = tuple(int(token) for token in generator.integers(0, VOCAB, size=generator.integers(1, 8)))
        options = Options(w=w, n=n, g=g)
        sequence = open_sequence(target, Lookahead(options), Match(), Request(prompt, 0), until(44))
        twin = Twin(Recompute(target), prompt, w, n, g)
        while not sequence.finished:
            text = list(sequence.committed)
            if 44 - len(sequence.output) <= w + n:
                break  # the end of the text is too near for the whole window
            drive(target, Constant(options.nodes), [sequence], rounds=1)
            tree = sequence.steps[-1].tree
            grams = twin.drafts(text[-1])
            starts = {gram[:end] for gram in grams for end in range(1, n)}
            assert set(paths(tree, probes=False)) == starts
            for rank, gram in enumerate(grams):
                node = paths(tree, probes=False).index(gram)
                assert tree.score[node] >= math.log(RIGHT) * (rank + 1) + (n - 2) * math.log(GOES_ON) - 1e-9
            twin.step(text)
            assert [list(level) for level in zip(*sequence.state.columns, strict=True)] == twin.levels
            pool = sequence.state.pool
            assert {token: list(reversed(found)) for token, found in pool.items()} == {
                token: twin.drafts(token) for token in {gram[0] for gram in twin.kept}
            }
            passes += 1
        drafted += stats(sequence.steps).drafted
        accepted += stats(sequence.steps).accepted
    assert passes > 1000
    assert 100 < accepted < drafted


def test_a_short_budget_is_shared_and_holds_whole_columns() -> None:
    window = Window([[0, 1], [2, 3], [4, 5]], {6: [(1, 2), (3, 4)]})
    drafter = Lookahead(Options(w=3, n=3, g=3))
    for rows, drafts, probes in (
        (12, 4, 6),
        (10, 4, 6),
        (8, 4, 4),
        (6, 3, 2),
        (4, 2, 2),
        (2, 1, 0),
        (1, 0, 0),
        (0, 0, 0),
    ):
        (tree,) = drafter.propose([ask(window, [6], rows)])
        check(tree, VOCAB, rows, 20, needs_laws=False)
        assert (tree.drafted, sum(tree.probes)) == (drafts, probes), rows
    (tree,) = drafter.propose([ask(window, [6], 12, depth=3)])
    assert max(tree.depths) == 3
    assert sum(tree.probes) == 4
    (tree,) = drafter.propose([ask(window, [6], 4, draw="sampled")])
    assert tree.laws[:2] == (Point(3, VOCAB), Point(4, VOCAB))
    assert tree.laws[2:] == (None, None)
    assert tree.parents[2] == ROOT
    assert drafter.propose([ask(window, [5], 1)]) == [EMPTY]


def test_columns_that_were_not_fed_wait() -> None:
    target = ToyModel(NGrams.fit([list(range(VOCAB)) * 8], VOCAB))
    sequence = open_sequence(target, Lookahead(Options(w=3, n=3, g=1)), Match(), Request((0, 2, 4), 0), until(20))
    drive(target, Constant(2), [sequence], rounds=1)
    assert sequence.state.columns == [[0, 1], [2, 3], [4]]
    assert sequence.state.fed == ()


def test_a_window_that_the_policy_left_out_teaches_nothing() -> None:
    class Cutting(Constant):
        def shape(self, states: Any, trees: Any, load: Any) -> Any:
            plans = super().shape(states, trees, load)
            bare = trees[0].select(node for node in range(len(trees[0])) if not trees[0].probes[node])
            return [type(plans[0])(bare)]

    target = ToyModel(Tables.random(VOCAB, order=1, seed=1))
    sequence = open_sequence(target, Lookahead(Options()), Match(), Request((0, 2, 4), 0), until(10))
    drive(target, Cutting(30), [sequence], rounds=3)
    assert sequence.state.columns == [[0], [0], [2], [2], [4]]


def test_the_pool_keeps_the_latest_of_every_token_and_may_begin_with_the_prompt() -> None:
    window = Window([])
    for gram in ((1, 2), (1, 3), (1, 2), (1, 4), (5, 5)):
        window.keep(gram, 2)
    assert window.pool == {1: [(2,), (4,)], 5: [(5,)]}
    copied = window.copy()
    window.keep((1, 6), 2)
    assert copied.pool[1] == [(2,), (4,)]
    opened = Lookahead(Options(w=2, n=3, prompt=True)).open(Request((1, 2, 3, 4), 0))
    assert opened.pool == {1: [(2, 3)], 2: [(3, 4)]}
    assert not Lookahead(Options()).open(Request((1, 2, 3, 4), 0)).pool


def test_options() -> None:
    assert specify("lookahead:w=3,n=3,g=3").num_speculative_tokens == 12
    assert specify("lookahead").num_speculative_tokens == 30
    with pytest.raises(UsageError) as refused:
        Options(n=1)
    assert str(refused.value) == "lookahead needs w and g of 1 and n of 2 at least, not w=5, n=1, g=5"
