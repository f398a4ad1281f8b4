"""Drafting beside the target: what comes true is proposed at once, what does not is thrown away."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from foredraft.core.errors import UsageError
from foredraft.core.protocols import Ask, Budget, Draw, Model, Needs, Query, Request, Scores, Thrift
from foredraft.core.rules import Rules
from foredraft.core.stream import KeyedStream
from foredraft.core.tree import EMPTY, DraftTree
from foredraft.draft import specify
from foredraft.draft.ahead import Ahead, Course, _below, _cut
from foredraft.draft.family import Provided
from foredraft.draft.none import Nothing
from foredraft.draft.staged import Staged
from foredraft.engine.sequence import open_sequence
from foredraft.models.toy import NGrams, Tables, ToyModel
from foredraft.policy.constant import Constant
from foredraft.testing.drafters import DrafterChecks, MakeDrafter, until
from foredraft.testing.watch import drive
from foredraft.verify.match import Match

VOCAB = 5


def ahead(net: Any, *, pre: bool = True) -> Ahead:
    return Ahead(Staged(ToyModel(net), Nothing(), num_speculative_tokens=0, source="ahead"), pre=pre)


@pytest.mark.parametrize("pre", [True, False])
class TestAhead(DrafterChecks):
    """Two tokens, so that texts long enough for a plan to come true can be enumerated."""

    prompts = ((0, 1, 1, 0, 1), (1, 1, 0, 1, 0, 1, 1), (1,))
    exact_rows = 1
    exact_tokens = 3

    @pytest.fixture
    def target(self) -> Model:
        return ToyModel(Tables.random(2, order=1, seed=11))

    @pytest.fixture
    def make_drafter(self, pre: bool) -> MakeDrafter:
        return lambda: ahead(Tables.random(2, order=1, seed=36), pre=pre)


# --- worked by hand -------------------------------------------------------------------------------------------------

ROUND = NGrams.fit([[0, 1, 2, 3] * 8], vocab_size=VOCAB)


def test_a_worked_example() -> None:
    """Target and draft model go round 0 1 2 3, three drafts a round, text 0 1: PEARL's two modes.

    First nothing is known: the target says 2 alone, while the draft model writes 2 3 0 1. 2 was right (pre-verify),
    so 3 0 1 is proposed, and meanwhile 2 3 0 1 is written for after it. All stand and the bonus is 2 (post-verify):
    once more 3 0 1.
    """
    sequence = open_sequence(ToyModel(ROUND), ahead(ROUND), Match(), Request((0, 1), 0), until(13))
    drive(ToyModel(ROUND), Constant(3), [sequence])
    assert sequence.output == [2, 3, 0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2]
    assert [(step.tree.tokens, step.accepted) for step in sequence.steps] == [
        ((), 0),
        ((3, 0, 1), 3),
        ((3, 0, 1), 3),
        ((3, 0, 1), 3),
    ]


def test_a_miss_goes_back_to_checking_one_token() -> None:
    """The draft model takes 3 for 0 after 2: what it wrote on is thrown away, and the target goes one step alone.

    With pre=false that step is not alone: the draft is written at once, while the target waits.
    """
    wrong = NGrams.fit([[0, 1, 2, 3, 1, 2, 3] * 8], vocab_size=VOCAB)
    drafts = {}
    for pre in (True, False):
        sequence = open_sequence(ToyModel(ROUND), ahead(wrong, pre=pre), Match(), Request((0, 1), 0), until(12))
        drive(ToyModel(ROUND), Constant(3), [sequence])
        assert sequence.output == [2, 3, 0, 1, 2, 3, 0, 1, 2, 3, 0, 1]
        drafts[pre] = [(step.tree.tokens, step.accepted) for step in sequence.steps]
    assert drafts[True][:4] == [((), 0), ((3, 1, 2), 1), ((), 0), ((2, 3, 1), 2)]
    assert drafts[False][:2] == [((2, 3, 1), 2), ((1, 2, 3), 3)]


# --- a slow twin ----------------------------------------------------------------------------------------------------


class Slow:
    """Remembers nothing but the last tree: drafts anew, from an empty cache, what must have been written ahead."""

    def __init__(self, net: Any) -> None:
        self.net = net

    def fresh(self, prompt: int, text: Sequence[int], ask: Ask[Any], budget: Budget) -> DraftTree:
        drafter = Staged(ToyModel(self.net), Nothing(), source="ahead")
        state = drafter.open(Request(tuple(text[:prompt]), 0))
        stream = ask.stream.at(len(text) - prompt)
        (tree,) = drafter.propose([Ask(state, list(text), ask.rules, budget, ask.draw, stream, VOCAB)])
        return tree

    def planned(self, prompt: int, before: Sequence[int], tree: DraftTree, ask: Ask[Any], budget: Budget) -> DraftTree:
        """What is known when `ask` comes, after a round that began at `before` with `tree` and `budget`."""
        path, node = list(before), -1
        while children := tree.children(node):
            node = sorted(children, key=lambda child: (-tree.score[child], child))[0]
            path.append(tree.tokens[node])
        hoped = self.fresh(prompt, path, ask, Budget(budget.rows + 1, budget.depth + 1))
        if not len(hoped) or [*path, hoped.tokens[0]] != list(ask.committed):
            return EMPTY
        paths = {tuple(hoped.tokens[n] for n in hoped.path(node)): hoped.score[node] for node in range(len(hoped))}
        first = next(iter(paths))
        kept = [(rest[1:], score) for rest, score in paths.items() if rest[0] == first[0] and len(rest) > 1]
        kept = [one for one in kept if len(one[0]) <= ask.budget.depth][: ask.budget.rows]
        parents = [[path for path, _ in kept].index(path[:-1]) if len(path) > 1 else -1 for path, _ in kept]
        return DraftTree.of([path[-1] for path, _ in kept], parents, "", score=[one - paths[first] for _, one in kept])


@pytest.mark.parametrize("draw", ["point", "coupled"])
@pytest.mark.parametrize("temperature", [0.0, 0.8])
def test_a_thousand_rounds_propose_what_a_twin_drafts_anew(draw: Draw, temperature: float) -> None:
    """A quarter of them for each: what is committed is now what was hoped for, now something else."""
    generator = np.random.default_rng([len(draw), int(10 * temperature)])
    hits = rounds = 0
    for case in range(25):
        net = Tables.random(VOCAB, order=1, seed=case, scale=3.0)
        drafter, twin = ahead(net), Slow(net)
        prompt = [int(token) for token in generator.integers(0, VOCAB, size=3)]
        course, text = drafter.open(Request(tuple(prompt), case)), prompt
        last: tuple[list[int], DraftTree, Budget] | None = None
        for _ in range(10):
            budget = Budget(int(generator.integers(1, 6)), int(generator.integers(1, 4)))
            stream = KeyedStream(case).at(len(text) - 3)
            ask = Ask(course, list(text), Rules(temperature=temperature), budget, draw, stream, VOCAB)
            (tree,) = drafter.propose([ask])
            expected = twin.planned(3, last[0], last[1], ask, last[2]) if last is not None else EMPTY
            assert (tree.tokens, tree.parents) == (expected.tokens, expected.parents)
            assert tree.score == pytest.approx(expected.score)
            drafter.ahead([ask], [tree])
            last, hits, rounds = (list(text), tree, budget), hits + len(tree), rounds + 1
            lucky = generator.random() < 0.8 and course.text
            text = list(course.text) if lucky else [*text, *tree.tokens[:1], int(generator.integers(0, VOCAB))]
            if len(text) > 50:
                break
    assert rounds > 200
    assert hits > 100


# --- the parts ------------------------------------------------------------------------------------------------------


class Patient(ToyModel):
    """A target whose pass does not end before the draft model has begun to write ahead."""

    def __init__(self, net: Any, begun: threading.Event) -> None:
        super().__init__(net)
        self.begun = begun

    def score(self, queries: Sequence[Query]) -> list[Scores]:
        assert self.begun.wait(5)
        return super().score(queries)


def test_it_drafts_on_another_thread_during_the_pass() -> None:
    begun, threads = threading.Event(), set[int]()

    class Noted(ToyModel):
        def score(self, queries: Sequence[Query]) -> list[Scores]:
            threads.add(threading.get_ident())
            begun.set()
            return super().score(queries)

    drafter = Ahead(Staged(Noted(ROUND), Nothing(), source="ahead"))
    sequence = open_sequence(Patient(ROUND, begun), drafter, Match(), Request((0,), 0), until(9))
    drive(Patient(ROUND, begun), Constant(3), [sequence])
    assert threads
    assert threading.get_ident() not in threads


def test_hoped_for_tokens_are_not_held_certain() -> None:
    """The draft cache holds tokens that the target never said; the next draft does not trust them."""
    net = Tables.random(VOCAB, order=2, seed=3, scale=2.0)
    drafter = ahead(net, pre=False)
    course = drafter.open(Request((0, 1), 0))
    asked = Ask(course, [0, 1], Rules(), Budget(3, 3), "coupled", KeyedStream(0).at(0), VOCAB)
    drafter.ahead([asked], drafter.propose([asked]))
    said = next(token for token in range(VOCAB) if token != course.text[2])
    then = replace(asked, committed=[0, 1, said], stream=KeyedStream(0).at(1))
    fresh = ahead(net, pre=False)
    again = replace(then, state=fresh.open(Request((0, 1), 0)))
    assert drafter.propose([then]) == fresh.propose([again])


def test_it_tells_how_much_its_model_has_to_read() -> None:
    drafter, text = ahead(ROUND), [0, 1, 2, 3]
    assert drafter.needs == Needs(ahead=True, reads=True)
    course = drafter.open(Request(tuple(text), 0))
    assert drafter.behind(course, text) == 4
    asked = Ask(course, text, Rules(), Budget(1, 1), "coupled", KeyedStream(0), VOCAB)
    drafter.ahead([asked], drafter.propose([asked]))
    assert drafter.behind(course, text) == 0


def test_a_pass_that_fails_leaves_no_hoped_for_token_certain() -> None:
    """As above; the draft model fails while it writes ahead, its cache already cut to the text that is hoped for."""
    net = Tables.random(VOCAB, order=2, seed=3, scale=2.0)
    failing = False

    class Fails(ToyModel):
        def score(self, queries: Sequence[Query]) -> list[Scores]:
            if failing:
                raise RuntimeError("no memory")
            return super().score(queries)

    drafter = Ahead(Staged(Fails(net), Nothing(), source="ahead"), pre=False)
    course = drafter.open(Request((0, 1), 0))
    asked = Ask(course, [0, 1], Rules(), Budget(3, 3), "coupled", KeyedStream(0).at(0), VOCAB)
    (tree,) = drafter.propose([asked])
    failing = True
    with pytest.raises(RuntimeError):
        drafter.ahead([asked], [tree])
    assert course.stage.draft.sure <= 2
    failing = False
    said = next(token for token in range(VOCAB) if token != tree.tokens[0])
    then = replace(asked, committed=[0, 1, said, 0], stream=KeyedStream(0).at(2))
    fresh = ahead(net, pre=False)
    again = replace(then, state=fresh.open(Request((0, 1), 0)))
    assert drafter.propose([then]) == fresh.propose([again])


def test_a_tree_below_a_node() -> None:
    tree = DraftTree.of((1, 2, 3, 4, 0), (-1, 0, -1, 1, 0), "x", score=(-1, -2, -3, -4, -5))
    part = _below(tree, 0)
    assert (part.tokens, part.parents, part.score) == ((2, 4, 0), (-1, 0, -1), (-1.0, -3.0, -4.0))
    assert _below(tree, 2) == EMPTY
    assert _cut(part, Budget(2, 1)).tokens == (2, 0)
    assert _cut(part, Budget(2, 5)).tokens == (2, 4)


def test_how_it_is_written() -> None:
    spec = specify("ahead:some/path,k=6,quantize=int4,head=100")
    assert spec.needs == Needs(model="some/path", thrift=Thrift("int4", 100), ahead=True)
    made = spec.family.build(spec.options, Provided(model=ToyModel(ROUND)))
    assert isinstance(made, Ahead)
    assert made.pre
    assert isinstance(made.open(Request((0,), 0)), Course)
    assert specify("ahead:some/path,pre=false").options.pre is False
    with pytest.raises(UsageError, match="drafter 'ahead' needs a draft model: write ahead:NAME"):
        spec.family.build(spec.options, Provided())
    for name in ("ahead", "translate", "staged"):
        with pytest.raises(UsageError, match="quantize of a draft model must be int8 or int4, not 'int2'"):
            specify(f"{name}:model=path,quantize=int2")
        with pytest.raises(UsageError, match="head_text says which tokens a head of head=N keeps"):
            specify(f"{name}:model=path,head_text=file")
