"""Token recycling against a slow twin that keeps every reading and enumerates every path."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from foredraft.core.errors import UsageError
from foredraft.core.law import Point
from foredraft.core.protocols import News, Request, Verdict
from foredraft.core.rules import Rules
from foredraft.core.tree import EMPTY, ROOT, DraftTree, check
from foredraft.draft import specify
from foredraft.draft.native import TWINS
from foredraft.draft.recycling import SAID, TRUSTS, Options, Recycling
from foredraft.draft.successors import CONTEXTS, Row, Successors, tree_of
from foredraft.draft.tenants import MOST
from foredraft.engine.sequence import open_sequence
from foredraft.models.toy import Tables, ToyModel
from foredraft.testing.drafters import DrafterChecks, MakeDrafter, until
from foredraft.testing.recompute import Recompute
from foredraft.testing.watch import Varied, drive
from foredraft.verify.match import Match
from recycled import VOCAB, ask, rows_of

PAPER = Options(context=1, blend=1, prompt=False)


@pytest.mark.parametrize("options", [Options(), PAPER, Options(shared=False)], ids=["default", "paper", "unshared"])
class TestRecycling(DrafterChecks):
    @pytest.fixture
    def make_drafter(self, options: Options) -> MakeDrafter:
        return lambda: Recycling(options)


class Told:
    """Scores made by hand: row -> logits."""

    vocab_size = VOCAB

    def __init__(self, rows: Mapping[int, Any], count: int = 8) -> None:
        self.rows, self.count = rows, count

    def top(self, row: int) -> tuple[Any, Any]:
        logits = np.asarray(self.rows[row], dtype=np.float32)
        ids = np.argsort(-logits, kind="stable")[: self.count]
        return ids, logits[ids]


def log(*probs: float) -> list[float]:
    return [math.log(prob) for prob in probs]


def test_a_worked_example() -> None:
    """The paper's table, width 2. Text 0; drafted 1 and 2 below it, 3 below 1; the target says 1, then 4.

    The rows of all four are written, the rejected 2 and the unreached 3 included. From 4, whose row is not known,
    nothing is drafted; from 1, its own row's 4 and 5 are, and below 5 nothing.
    """
    drafter = Recycling(replace(PAPER, width=2))
    state = drafter.open(Request((0,), 0))
    assert drafter.propose([ask(state, [0])]) == [EMPTY]
    tree = DraftTree.of((1, 2, 3), (-1, -1, 0), "any")
    rows = {
        1: log(0.01, 0.6, 0.35, 0.02, 0.01, 0.01),  # after 0: 1, then 2
        2: log(0.01, 0.01, 0.02, 0.06, 0.6, 0.3),  # after 0 1: 4, then 5
        3: log(0.7, 0.2, 0.04, 0.03, 0.02, 0.01),  # after 0 2: 0, then 1
        4: log(0.1, 0.1, 0.5, 0.2, 0.05, 0.05),  # after 0 1 3: 2, then 3
    }
    scores: Any = Told(rows, 2)
    drafter.update([News(state, [0, 1, 4], (1, 4), 0, (0, 2), scores, tree, Verdict((0,), 4), None, 2)])
    assert {context: row.tokens for context, row in rows_of(state.table).items()} == {
        (0,): (1, 2),
        (1,): (4, 5),
        (2,): (0, 1),
        (3,): (2, 3),
    }
    assert rows_of(state.table)[0,].probs == pytest.approx((0.6 / 0.95, 0.35 / 0.95))
    assert drafter.propose([ask(state, [0, 1, 4])]) == [EMPTY]
    (found,) = drafter.propose([ask(state, [0, 1])])
    assert (found.tokens, found.parents) == ((4, 5), (ROOT, ROOT))
    (found,) = drafter.propose([ask(state, [3], rows=4)])
    # A step's score is 0.9 log p - 0.6. From 3: 2 (p 5/7) -0.903, 3 (2/7) -1.728; below 2: 0 (7/9) -1.729, 1 (2/9)
    # -2.857; below 3: 2 again -2.630; below 2 0: 1 (12/19) -2.743. The best four, in order:
    assert (found.tokens, found.parents) == ((2, 3, 0, 2), (ROOT, ROOT, 0, 1))
    assert found.score == pytest.approx((-0.9028, -1.7275, -1.7290, -2.6303), abs=1e-4)


def test_what_was_committed_has_the_last_word() -> None:
    """Token 1 twice in one pass: the accepted one stands, though the rejected one has the larger node."""
    drafter = Recycling(replace(PAPER, width=1))
    state = drafter.open(Request((0,), 0))
    tree = DraftTree.of((1, 2, 1), (-1, -1, 1), "any")
    scores: Any = Told({row: np.eye(VOCAB)[token] for row, token in ((1, 1), (2, 3), (3, 1), (4, 5))})
    drafter.update([News(state, [0, 1, 3], (1, 3), 0, (0, 2), scores, tree, Verdict((0,), 3), None, 2)])
    assert rows_of(state.table)[1,].tokens == (3,)


def test_probes_and_rows_of_no_numbers_teach_nothing() -> None:
    drafter = Recycling(PAPER)
    state = drafter.open(Request((0,), 0))
    tree = DraftTree.of((1, 2), (-1, -1), "any", probes=(True, False))
    scores: Any = Told({1: np.eye(VOCAB)[3], 2: np.eye(VOCAB)[3], 3: [math.nan] * VOCAB})
    drafter.update([News(state, [0, 3], (3,), 0, (0,), scores, tree, Verdict((), 3), None, 2)])
    assert set(rows_of(state.table)) == {(0,)}


TABLES = [Successors, TWINS.Successors]

# --- the table ------------------------------------------------------------------------------------------------------


def folded(readings: Sequence[tuple[Sequence[int], Sequence[float]]], share: float, width: int) -> dict[int, float]:
    """The mean of readings, told one by one; each time the likeliest `width` are kept, the later read among equals."""
    kept: dict[int, float] = {}
    for tokens, probs in readings:
        first = not kept or share == 1
        weights = {token: (1 if first else share) * prob for token, prob in zip(tokens, probs, strict=True)}
        for token, prob in kept.items():
            weights[token] = weights.get(token, 0.0) + (0.0 if first else (1 - share) * prob)
        places = list(weights)
        ranks = {token: (-round(weights[token], 12), place) for place, token in enumerate(places)}
        order = sorted(ranks, key=ranks.__getitem__)
        kept = {token: weights[token] for token in order[:width] if not first or token in tokens}
    return kept


def random_tables(count: int) -> list[tuple[Successors, list[tuple[tuple[int, ...], list[int], list[float]]]]]:
    """Tables of every length of context, and what they were told."""
    generator = np.random.default_rng(4)
    found = []
    for _ in range(count):
        length, width = (int(each) for each in generator.integers((1, 1), (len(TRUSTS) + 1, 5)))
        share = float(generator.choice([1.0, 0.5, 0.3]))
        table, told = Successors(TRUSTS[:length], width, share), []
        for _ in range(int(generator.integers(1, 30))):
            text = tuple(int(token) for token in generator.integers(0, VOCAB, size=generator.integers(1, 6)))
            tokens = [int(token) for token in generator.permutation(VOCAB)[: generator.integers(1, VOCAB)]]
            probs = sorted((float(prob) for prob in generator.dirichlet(np.ones(VOCAB))[: len(tokens)]), reverse=True)
            table.learn(text, tokens, probs)
            told.append((text, tokens, probs))
        found.append((table, told))
    return found


def test_a_thousand_tables_hold_the_means_of_what_they_were_told() -> None:
    rows = 0
    for table, told in random_tables(1000):
        expected: dict[tuple[int, ...], list[tuple[list[int], list[float]]]] = {}
        for text, tokens, probs in told:
            for size in range(1, min(len(table.trusts), len(text)) + 1):
                expected.setdefault(text[-size:], []).append((tokens, probs))
        assert set(table.own) == set(expected)
        for context, readings in expected.items():
            mean = folded(readings, table.share, table.width)
            assert dict(zip(*table.own[context], strict=True)) == pytest.approx(mean)
            assert list(table.own[context].probs) == sorted(table.own[context].probs, reverse=True)
            rows += len(readings) > 1
    assert rows > 1000


def paths(table: Successors, text: tuple[int, ...], depth: int) -> dict[tuple[int, ...], float]:
    """Every path that the rows span, and its score."""
    found: dict[tuple[int, ...], float] = {(): 0.0}
    for length in range(1, depth + 1):
        for path in itertools.product(range(VOCAB), repeat=length):
            if path[:-1] not in found:
                continue
            said = (*text, *path[:-1])
            for size in range(len(table.trusts), 0, -1):
                row = table.own.get(said[-size:]) if len(said) >= size else None
                if row is not None:
                    if path[-1] in row.tokens:
                        step = table.trusts[size - 1].score(row.probs[row.tokens.index(path[-1])])
                        found[path] = found[path[:-1]] + step
                    break
    del found[()]
    return found


def test_a_thousand_trees_are_the_likeliest_paths() -> None:
    generator = np.random.default_rng(5)
    branched = 0
    for table, _ in random_tables(1000):
        rows, depth = (int(each) for each in generator.integers((1, 1), (20, 4)))
        text = tuple(int(token) for token in generator.integers(0, VOCAB, size=generator.integers(1, 6)))
        least = float(generator.choice([-math.inf, -3.0, -0.9]))
        tree = tree_of(table.draft(text, rows, depth, least), "recycling")
        check(tree, VOCAB, rows, depth, needs_laws=False)
        expected = {path: score for path, score in paths(table, text, depth).items() if score >= least}
        mine = {tuple(tree.tokens[step] for step in tree.path(node)): tree.score[node] for node in range(len(tree))}
        assert len(mine) == len(tree) == min(rows, len(expected))
        assert mine == pytest.approx({path: expected[path] for path in mine})
        assert list(tree.score) == pytest.approx(sorted(expected.values(), reverse=True)[:rows])
        branched += len(tree.children(ROOT)) > 1
    assert branched > 250


def test_every_row_of_real_rounds_is_taken_in() -> None:
    """Chunked prompts, a batch, rejected nodes: the contexts known are those of the prompt and of all nodes scored."""
    target = ToyModel(Tables.random(5, order=2, seed=71))
    judge, drafter = Recompute(target), Recycling(replace(PAPER, width=3))
    requests = [Request(prompt, 1, rules=Rules(temperature=1.0)) for prompt in ((0, 1, 2, 3, 4), (4,), (2, 2, 0))]
    sequences = [open_sequence(target, drafter, Match(), request, until(12)) for request in requests]
    drive(target, Varied(), sequences, chunk=2)
    rejected = 0
    for sequence in sequences:
        last: dict[tuple[int, ...], tuple[int, ...]] = {}
        said = list(sequence.request.prompt)
        for step in sequence.steps:
            if not step.tokens:
                continue
            inside = [step.tree.path(node) for node in (*range(len(step.tree)),) if node not in step.path]
            rejected += len(inside)
            for nodes in (*inside, *(step.path[:end] for end in range(len(step.path) + 1))):
                text = (*said, *(step.tree.tokens[node] for node in nodes))
                last[text[-1:]] = tuple(np.argsort(-judge.logits(text), kind="stable")[:3].tolist())
            said += step.tokens
        assert {context: row.tokens for context, row in rows_of(sequence.state.table).items()} == last
    assert rejected > 10


def test_the_prompt_seeds_the_table() -> None:
    state = Recycling(Options()).open(Request((1, 2, 3, 1, 4), 0))
    assert rows_of(state.table)[2,] == Row((3,), (SAID,))
    assert rows_of(state.table)[1,] == Row((4, 2), (SAID / 2, SAID / 2))
    assert rows_of(state.table)[1, 2] == Row((3,), (SAID,))
    assert rows_of(Recycling(Options(context=1)).open(Request((1, 2, 3), 0)).table).keys() == {(1,), (2,)}
    assert not len(Recycling(PAPER).open(Request((1, 2, 3), 0)).table)


def test_a_ratio_verifier_is_told_that_nothing_was_drawn_by_chance() -> None:
    drafter = Recycling(Options())
    state = drafter.open(Request((1, 2, 1, 3, 1), 0))
    (tree,) = drafter.propose([ask(state, [1, 2, 1, 3, 1], rows=2, depth=1, draw="sampled")])
    assert tree.laws == (Point(3, VOCAB), Point(2, VOCAB))


@pytest.mark.parametrize("make", TABLES)
def test_the_contexts_read_last_are_kept(make: Any) -> None:
    table = make(TRUSTS[:1], 1, 1.0)
    for token in range(CONTEXTS * 5 // 4 + 1):
        table.learn((token,), (0,), (1.0,))
    own = rows_of(table)
    assert len(own) == len(table) == CONTEXTS
    assert (CONTEXTS * 5 // 4,) in own
    assert (0,) not in own


@pytest.mark.parametrize("make", TABLES)
def test_what_was_learnt_comes_over_what_was_known(make: Any) -> None:
    known, learnt = make(TRUSTS[:1], 1, 1.0), make(TRUSTS[:1], 1, 1.0)
    for token in (1, 2):
        known.put((token,), (1,), (1.0,))
    learnt.put((1,), (2,), (1.0,))
    assert list(rows_of(learnt.over(known)).items()) == [((2,), Row((1,), (1.0,))), ((1,), Row((2,), (1.0,)))]
    assert rows_of(learnt.over(None)) == rows_of(learnt)


# --- what requests share --------------------------------------------------------------------------------------------


def test_a_closed_request_teaches_the_next_of_its_tenant_alone() -> None:
    drafter = Recycling(Options())
    drafter.close(drafter.open(Request((4, 4), 0, tenant="a")))
    first, beside = drafter.open(Request((1, 2, 3), 0, tenant="a")), drafter.open(Request((2,), 0, tenant="a"))
    choice = drafter.open(Request((2,), 0, tenant="a"), beside)
    drafter.close(first)
    drafter.close(first)
    assert drafter.propose([ask(beside, [2])]) == [EMPTY], "what was known when a request began is all it begins with"
    drafter.close(beside)
    drafter.close(drafter.open(Request((2, 3), 0, tenant="a")))
    assert drafter.propose([ask(choice, [2])]) == [EMPTY], "nor does a choice of it know more, though it ended"
    later, other = (drafter.open(Request((2,), 0, tenant=tenant)) for tenant in "ab")
    assert [tree.tokens for tree in drafter.propose([ask(later, [2]), ask(other, [2])])] == [(3,), ()]
    drafter.clear("b")
    assert drafter.open(Request((2,), 0, tenant="a")).table.base
    drafter.clear()
    assert not drafter.open(Request((2,), 0, tenant="a")).table.base


@pytest.mark.parametrize("make", TABLES)
def test_what_is_learnt_lies_over_what_all_begin_with(make: Any) -> None:
    """A table of the package is not copied for every tenant, and no lesson pushes it out."""
    start = make(TRUSTS[:1], 1, 1.0)
    for token in (1, 2, 3):
        start.put((token,), (1,), (1.0,))
    learnt = make(TRUSTS[:1], 1, 1.0, start)
    for token, follows in ((1, 2), (2, 4)):
        lesson = make(TRUSTS[:1], 1, 1.0)
        lesson.put((token,), (follows,), (1.0,))
        learnt.take(lesson, 0.9)
    assert set(rows_of(learnt)) == {(1,), (2,)}
    table = make(TRUSTS[:1], 1, 1.0, learnt)
    assert [table.draft((token,), 1, 1, -math.inf)[0] for token in (1, 2, 3)] == [[2], [4], [1]]


@pytest.mark.parametrize("make", TABLES)
def test_rows_of_arrays_are_those_put_one_by_one(make: Any) -> None:
    filled, put = make(TRUSTS, 3, 0.5), make(TRUSTS, 3, 0.5)
    probs = np.array([[0.5, 0.25], [0.75, 0.0]], np.float32)
    filled.fill(np.array([[-1, 1], [2, 3]], np.int32), np.array([[4, 5], [1, -1]], np.int32), probs)
    put.put((1,), (4, 5), (0.5, 0.25))
    put.put((2, 3), (1,), (0.75,))
    assert filled.rows() == put.rows()


@pytest.mark.parametrize("make", TABLES)
def test_what_a_request_learnt_is_mixed_with_what_others_did(make: Any) -> None:
    start, learnt = make(TRUSTS, 2, 0.5), make(TRUSTS, 2, 0.5)
    start.put((1,), (3,), (0.5,))
    known = make(TRUSTS, 2, 0.5, start)
    known.put((2,), (4, 5), (0.5, 0.25))
    for token in (1, 2, 3):
        learnt.put((token,), (6,), (1.0,))
    known.take(learnt, 0.25)
    assert list(rows_of(known).items()) == [
        ((1,), Row((3, 6), (0.375, 0.25))),
        ((2,), Row((4, 6), (0.375, 0.25))),
        ((3,), Row((6,), (1.0,))),
    ]
    assert start.rows() == [((1,), (3,), (0.5,))], "what all begin with is never written"
    known.take(learnt, 1.0)
    assert rows_of(known) == rows_of(learnt), "1 overwrites"
    with pytest.raises(ValueError, match="itself"):
        known.take(known, 0.25)


@pytest.mark.parametrize("make", TABLES)
def test_what_is_taken_in_pushes_out_what_was_not_read_for_longest(make: Any) -> None:
    known, learnt = make(TRUSTS[:1], 1, 1.0), make(TRUSTS[:1], 1, 1.0)
    for token in range(CONTEXTS):
        known.put((token,), (0,), (1.0,))
    for token in range(CONTEXTS, CONTEXTS * 5 // 4 + 1):
        learnt.put((token,), (0,), (1.0,))
    known.take(learnt, 0.5)
    kept = rows_of(known)
    assert len(kept) == CONTEXTS
    assert (CONTEXTS * 5 // 4,) in kept
    assert (0,) not in kept


def test_a_request_of_something_else_does_not_wipe_out_what_many_said() -> None:
    drafter = Recycling(Options())
    for _ in range(3):
        drafter.close(drafter.open(Request((1, 2), 0)))
    drafter.close(drafter.open(Request((1, 3), 0)))
    (tree,) = drafter.propose([ask(drafter.open(Request((5, 1), 0)), [5, 1], rows=2, depth=1)])
    assert tree.tokens == (2, 3)


def test_unshared_tables_teach_nobody() -> None:
    drafter = Recycling(Options(shared=False))
    drafter.close(drafter.open(Request((1, 2, 3), 0)))
    assert not drafter.open(Request((2,), 0)).table.base


def test_tenants_who_ask_for_nothing_are_forgotten() -> None:
    drafter = Recycling(Options())
    for index in range(MOST + 1):
        drafter.close(drafter.open(Request((1, 2), 0, tenant=str(index))))
    assert not drafter.open(Request((1,), 0, tenant="0")).table.base
    assert drafter.open(Request((1,), 0, tenant="1")).table.base


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"width": 0}, "width of recycling must be from 1 to 64, not 0"),
        ({"context": 5}, "context of recycling must be from 1 to 4, not 5"),
        ({"blend": 0.0}, "blend of recycling must be above 0 and at most 1, not 0"),
        ({"save": "x", "shared": False}, "recycling saves what requests share: leave out save or shared=false"),
    ],
)
def test_options_out_of_range_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError) as refused:
        Options(**options)
    assert str(refused.value) == message


def test_needs() -> None:
    assert specify("recycling:width=5").needs.top == 5
    assert specify("recycling").needs.tokenizer
    assert not specify("recycling:file=none").needs.tokenizer
    assert specify("recycling:file=x").needs.tokenizer
