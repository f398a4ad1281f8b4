"""A drafter whose model is itself speculated: it drafts what the model would say alone, in fewer of its passes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from cases import net_logits, rules_after
from foredraft.core.errors import UnknownName, UsageError
from foredraft.core.law import Law, Point
from foredraft.core.protocols import AnyDrafter, Ask, Budget, Draw, Model, Needs, News, Request
from foredraft.core.round import run_round
from foredraft.core.rules import Bias, Rules
from foredraft.core.stream import KeyedStream, Purpose
from foredraft.core.tree import EMPTY, ROOT, DraftTree
from foredraft.draft import specify
from foredraft.draft.family import Provided
from foredraft.draft.history import END
from foredraft.draft.lookup import Lookup
from foredraft.draft.lookup import Options as LookupOptions
from foredraft.draft.model import ModelDrafter
from foredraft.draft.recycling import Options as RecyclingOptions
from foredraft.draft.recycling import Recycling
from foredraft.draft.staged import Options, Stage, Staged
from foredraft.draft.suffix import Options as SuffixOptions
from foredraft.draft.suffix import Suffix
from foredraft.engine.sequence import open_sequence
from foredraft.models.toy import NGrams, Tables, ToyModel
from foredraft.policy.constant import Constant
from foredraft.policy.stopping import Cumulative
from foredraft.testing.drafters import DrafterChecks, MakeDrafter, until
from foredraft.testing.watch import drive
from foredraft.verify.match import Match

VOCAB = 5


def lookup(n: int = 2) -> Lookup:
    return Lookup(LookupOptions(n=n))


class TestStagedLookup(DrafterChecks):
    exact_tokens = 2  # chances of two models and of the inner drafter: every token more is ten times the branches

    @pytest.fixture
    def make_drafter(self) -> MakeDrafter:
        model = ToyModel(Tables.random(3, order=1, seed=31))
        return lambda: Staged(model, lookup())


class TestStagedTail(DrafterChecks):
    """The draft model writes one token, lookup the rest."""

    @pytest.fixture
    def make_drafter(self) -> MakeDrafter:
        model = ToyModel(Tables.random(3, order=1, seed=31))
        return lambda: Staged(model, lookup(), horizontal=1)


class TestStagedModel(DrafterChecks):
    """Three models deep: the inner drafter has a cache of its own."""

    prompts = ((0, 1, 1, 0, 1), (1, 1, 0, 1, 0, 1, 1), (1,))

    @pytest.fixture
    def target(self) -> Model:
        return ToyModel(Tables.random(2, order=1, seed=11))

    @pytest.fixture
    def make_drafter(self) -> MakeDrafter:
        model, smaller = (ToyModel(Tables.random(2, order=order, seed=32 + order)) for order in (1, 0))
        return lambda: Staged(model, ModelDrafter(smaller), horizontal=2)


@pytest.mark.parametrize("size", [2, 5])
class TestOtherSizes(DrafterChecks):
    """A draft model with fewer tokens, or more, than the target: padding differs between models of one family."""

    prompts = ((0, 1, 1, 0, 1), (1, 1, 0, 1, 0, 1, 1), (1,))
    exact_tokens = 2

    @pytest.fixture
    def make_drafter(self, size: int) -> MakeDrafter:
        model = ToyModel(Tables.random(size, order=1, seed=35))
        return lambda: Staged(model, lookup())


# --- a slow twin ----------------------------------------------------------------------------------------------------


def asked(state: Stage, text: Sequence[int], rules: Rules, budget: Budget, draw: Draw, seed: int = 0) -> Ask[Stage]:
    stream = KeyedStream(seed).at(len(text) - len(state.request.prompt))
    return Ask(state, list(text), rules, budget, draw, stream, VOCAB)


def law_after(net: Any, rules: Rules, text: Sequence[int], said: Sequence[int]) -> Law:
    return rules_after(rules, said).law_of(net_logits(net, (*text, *said)))


def chosen(ask: Ask[Stage], law: Law, depth: int, count: int) -> list[int]:
    """The first `count` tokens as they are to be drawn, read off the definitions."""
    if ask.draw == "coupled" and ask.rules.temperature > 0:
        return ask.stream.ahead(depth).rank(law, count, Purpose.TARGET)
    return sorted(range(VOCAB), key=lambda token: (-law.prob(token), token))[:count]


def slow(net: Any, ask: Ask[Stage], inner: Lookup, horizontal: int) -> dict[tuple[int, ...], float]:
    """path -> score of the nodes that a draft model without any speculation, and a cheap tail, make of a budget."""
    rules = ask.rules if ask.rules.temperature else Rules(ask.rules.steps, temperature=1.0)
    depth = min(ask.budget.rows, ask.budget.depth)
    found: dict[tuple[int, ...], float] = {}
    path: tuple[int, ...] = ()
    others: list[tuple[float, int, int, tuple[int, ...]]] = []
    for place in range(min(depth, horizontal or depth)):
        law = law_after(net, rules, ask.committed, path)
        above = found.get(path, 0.0)
        tokens = [token for token in chosen(ask, law, place, VOCAB) if law.prob(token) > 0]
        chances, left, rest = [law.prob(token) for token in tokens], 1.0, 1.0
        if ask.draw == "coupled" and ask.rules.temperature > 0:  # noise is shared: a rare token is there for a reason
            for at, prob in enumerate(chances):
                stands = min(1.0, prob / rest) ** 0.5 if rest > prob else 1.0
                chances[at], left, rest = max(left * stands, 1e-9), left * (1 - stands), rest - prob
        path = (*path, tokens[0])
        found[path] = above + math.log(chances[0])
        for rank, token in enumerate(tokens[1:]):  # in the order of the draw, none likelier than those before it
            score = above + math.log(min(chances[: rank + 2]))
            others.append((-score, place, rank, (*path[:-1], token)))
    left = Budget(ask.budget.rows - len(path), ask.budget.depth - len(path))
    if horizontal and min(left.rows, left.depth) > 0:
        text = (*ask.committed, *path)
        state = inner.open(Request(text, 0))
        (tail,) = inner.propose([Ask(state, text, rules, left, "coupled", ask.stream, VOCAB)])
        for node in range(len(tail)):
            below = tuple(tail.tokens[step] for step in tail.path(node))
            found[(*path, *below)] = found[path] + tail.score[node]
    for score, _, _, other in sorted(others)[: ask.budget.rows - len(found)]:
        found[other] = -score
    return found


@pytest.mark.parametrize("temperature", [0.0, 0.8])
@pytest.mark.parametrize("draw", ["point", "coupled"])
def test_a_thousand_contexts_are_drafted_as_the_model_alone_drafts_them(draw: Draw, temperature: float) -> None:
    """A quarter of them for each way of drawing; the model alone is asked for one token after another, from scratch."""
    generator = np.random.default_rng([len(draw), int(temperature * 10)])
    tails = branches = 0
    for case in range(250):
        net = Tables.random(VOCAB, order=1, seed=case % 20, scale=2.0)
        horizontal, k = int(generator.integers(0, 4)), int(generator.integers(1, 6))
        drafter, twin = Staged(ToyModel(net), lookup(), num_speculative_tokens=k, horizontal=horizontal), lookup()
        text = [int(token) for token in generator.integers(0, VOCAB, size=generator.integers(1, 14))]
        bias = Bias(np.array([case % VOCAB]), np.array([generator.normal()]))
        rules = Rules((bias,), temperature=temperature)
        state = drafter.open(Request(tuple(text), case, rules=rules))
        for _ in range(2):  # the second round finds a cache, of a text that went another way
            budget = Budget(int(generator.integers(1, 10)), int(generator.integers(1, 7)))
            ask = asked(state, text, rules, budget, draw, seed=case)
            (tree,) = drafter.propose([ask])
            expected = slow(net, ask, twin, horizontal)
            paths = [tuple(tree.tokens[step] for step in tree.path(node)) for node in range(len(tree))]
            assert dict(zip(paths, tree.score, strict=True)) == pytest.approx(expected)
            assert len(set(paths)) == len(paths)
            tails += "lookup" in tree.sources
            branches += len(tree.children(ROOT)) > 1
            text = [*text, *tree.tokens[:1], int(generator.integers(0, VOCAB))]
            drafter.inner.update([told(state.inner, text)])
    assert tails > 20
    assert branches > 100


def told(state: Any, committed: Sequence[int]) -> News[Any]:
    nothing: Any = None
    return News(state, committed, (), 0, (), nothing, EMPTY, None, None, 1)


# --- worked by hand -------------------------------------------------------------------------------------------------


class Counted(ToyModel):
    """Notes the tokens of every pass."""

    def __init__(self, net: Any) -> None:
        super().__init__(net)
        self.fed: list[tuple[int, ...]] = []

    def score(self, queries: Sequence[Any]) -> list[Any]:
        self.fed.append(queries[0].tokens)
        return super().score(queries)


def test_a_worked_example() -> None:
    """Text 0 1 2 3 0 1 2 3 0, a draft model that goes round 0 1 2 3, four drafts wanted.

    Lookup sees that 1 2 3 0 followed the last 0 before. Three of these are drafted, for the fourth is the bonus of the
    pass: it feeds the text's 9 tokens and 1 2 3, and says 1 2 3 0. Alone, the model takes four passes. Then the target
    commits 1 2 3 0 1. Lookup's 2 3 0 are as right; the cache has all but the last draft and the target's bonus, so the
    pass feeds 0 1, then 2 3 0.
    """
    model = Counted(NGrams.fit([[0, 1, 2, 3] * 8], vocab_size=VOCAB))
    drafter, text = Staged(model, lookup(n=1)), [0, 1, 2, 3, 0, 1, 2, 3, 0]
    state = drafter.open(Request(tuple(text), 0))
    (tree,) = drafter.propose([asked(state, text, Rules(), Budget(4, 4), "coupled")])
    assert tree.tokens == (1, 2, 3, 0)
    assert tree.parents == (-1, 0, 1, 2)
    assert model.fed == [(*text, 1, 2, 3)]  # no row for what the bonus may follow
    text += [1, 2, 3, 0, 1]
    drafter.inner.update([told(state.inner, text)])
    (tree,) = drafter.propose([asked(state, text, Rules(), Budget(4, 4), "coupled")])
    assert tree.tokens == (2, 3, 0, 1)
    assert model.fed[1:] == [(0, 1, 2, 3, 0)]


def test_a_wrong_inner_draft_costs_a_pass_and_changes_nothing() -> None:
    """The same model, and a text after which lookup expects 4: the first pass says 1, then lookup knows no better."""
    model = Counted(NGrams.fit([[0, 1, 2, 3] * 8], vocab_size=VOCAB))
    drafter, text = Staged(model, lookup(n=1)), [0, 4, 4, 0]
    state = drafter.open(Request(tuple(text), 0))
    (tree,) = drafter.propose([asked(state, text, Rules(), Budget(3, 3), "coupled")])
    assert tree.tokens == (1, 2, 3)
    assert model.fed == [(0, 4, 4, 0, 4, 4), (1,), (2,)]


# --- the parts ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_the_inner_speculation_saves_passes(temperature: float) -> None:
    """Over whole texts: the same drafts as the model's without speculation, in fewer passes."""
    target = ToyModel(NGrams.fit([[0, 1, 2, 3] * 8 + [0, 2, 1]], vocab_size=VOCAB))
    net = NGrams.fit([[0, 1, 2, 3] * 8 + [3, 1]], vocab_size=VOCAB)
    passes, drafts = [], []
    for drafter in (Staged(ToyModel(net), lookup()), ModelDrafter(ToyModel(net))):
        request = Request((0, 1, 2, 3, 0, 1, 2), 3, rules=Rules(temperature=temperature))
        sequence = open_sequence(target, drafter, Match(), request, until(30))
        drive(target, Constant(4), [sequence])
        passes.append(drafter.model.passes)
        drafts.append([step.tree for step in sequence.steps])
    assert [tree.tokens for tree in drafts[0]] == [tree.tokens for tree in drafts[1]]
    for one, other in zip(*drafts, strict=True):
        assert one.score == pytest.approx(other.score)
    assert passes[0] < 0.7 * passes[1]


def test_it_tells_how_much_its_model_has_to_read() -> None:
    drafter, text = Staged(ToyModel(Tables.random(VOCAB, order=1, seed=1)), lookup()), [0, 1, 2, 3, 4, 0]
    assert drafter.needs.reads
    state = drafter.open(Request(tuple(text), 0))
    assert drafter.behind(state, text) == 6
    drafter.propose([asked(state, text, Rules(), Budget(1, 1), "coupled")])
    assert drafter.behind(state, [*text, 4, 4]) == 2
    assert drafter.behind(state, text) == 0


def test_inner_drafts_that_the_draft_model_does_not_know_are_cut() -> None:
    """The text holds no token beyond the draft model's, but what a corpus or a table proposes may."""

    class Foreign(Lookup):
        def propose(self, asks: Sequence[Ask[Any]]) -> list[DraftTree]:
            foreign = DraftTree.of((1, 4, 0, 2), (-1, 0, 1, 0), "foreign")
            return [foreign if ask.budget.depth > 2 else EMPTY for ask in asks]

    model = ToyModel(Tables.random(3, order=1, seed=1))
    drafter = Staged(model, Foreign(LookupOptions()), num_speculative_tokens=4)
    (tree,) = drafter.propose([asked(drafter.open(Request((0, 1), 0)), (0, 1), Rules(), Budget(4, 4), "coupled")])
    assert len(tree) == 4
    assert max(tree.tokens) < 3


def test_a_text_the_draft_model_cannot_hold_is_not_drafted_for() -> None:
    model = ToyModel(Tables.random(3, order=1, seed=1, context=8), context=8)
    drafter = Staged(model, lookup())
    state = drafter.open(Request((0, 1), 0))
    for text in ((0, 4), (0,) * 6):
        assert drafter.propose([asked(state, text, Rules(), Budget(4, 3), "coupled")]) == [EMPTY]
    assert len(drafter.propose([asked(state, (0,) * 5, Rules(), Budget(4, 3), "coupled")])[0]) > 0


def test_a_failure_of_the_inner_drafter_is_no_secret() -> None:
    class Broken(Lookup):
        def propose(self, asks: Sequence[Ask[Any]]) -> list[DraftTree]:
            raise RuntimeError("no index")

    target = ToyModel(Tables.random(3, order=1, seed=1))
    drafter = Staged(ToyModel(Tables.random(3, order=1, seed=2)), Broken(LookupOptions()))
    sequence = open_sequence(target, drafter, Match(), Request((0, 1), 0), until(5))
    while not sequence.finished:
        run_round(target, Constant(3), [sequence])
    assert len(sequence.output) == 5
    faults = {step.fault for step in sequence.steps[:-1]}
    assert faults == {"DraftError: the inner drafter failed: RuntimeError: no index"}


def test_the_inner_drafter_learns_from_the_targets_rows() -> None:
    """It is told of every pass of the target, with what it needs of the scores."""

    class Learner(Lookup):
        needs = Needs(top=2)
        seen = 0

        def update(self, news: Sequence[News[Any]]) -> None:
            super().update(news)
            for one in news:
                if one.verdict is not None:
                    ids, _ = one.scores.top(one.row(ROOT))
                    assert len(ids) == 2
                    type(self).seen += 1

    target = ToyModel(Tables.random(3, order=1, seed=1))
    drafter: AnyDrafter = Staged(ToyModel(Tables.random(3, order=1, seed=2)), Learner(LookupOptions()))
    assert drafter.needs == Needs(top=2, reads=True)
    sequence = open_sequence(target, drafter, Match(), Request((0, 1), 0), until(8))
    drive(target, Constant(3), [sequence])
    assert Learner.seen > len(sequence.steps)


def test_what_the_draft_model_says_teaches_nobody() -> None:
    """The inner drafter runs ahead on copies: later texts of a tenant learn from what was committed, when it is."""
    target = ToyModel(Tables.random(VOCAB, order=1, seed=1))
    suffix, recycling = Suffix(SuffixOptions()), Recycling(RecyclingOptions(prompt=False))
    request = Request((0, 1, 2, 0, 1), 3, rules=Rules(temperature=1.0), tenant="a")
    for inner in (suffix, recycling):
        sequence = open_sequence(
            target, Staged(ToyModel(Tables.random(VOCAB, seed=2)), inner), Match(), request, until(20)
        )
        drive(target, Constant(3), [sequence])
        past = suffix.tenants.get("a")
        assert past is not None
        assert not past.end or inner is recycling
        assert not recycling.open(request).table.base
        sequence.close()
        assert list(past.kept) == [*sequence.committed, END]
    assert recycling.open(request).table.base
    assert len(suffix.tenants) == 1


@pytest.mark.parametrize("draw", ["coupled", "sampled"])
def test_a_budget_may_say_when_it_is_enough(draw: Draw) -> None:
    """The token after which it is enough stays; what the same inner round said beyond it goes, and the tail too."""
    net, stopped = Tables.random(VOCAB, order=1, seed=4, scale=2.0), 0
    for seed in range(20):
        trees = []
        for stop in (None, Cumulative(0.3)):
            drafter = Staged(ToyModel(net), lookup())
            state = drafter.open(Request((0, 1, 0), seed))
            ask = asked(state, (0, 1, 0), Rules(temperature=1.0), Budget(6, 6, stop=stop), draw, seed)
            trees += drafter.propose([ask])
        full, short = trees
        # Drawn by chance, a token's score stands for the root of its probability.
        paths = [math.exp(2 * full.score[node]) for node in range(len(full)) if full.depths[node] == node + 1]
        count = next((place + 1 for place, path in enumerate(paths) if path < 0.3), len(paths))
        assert short.tokens[:count] == full.tokens[:count]
        assert short.depth == count
        stopped += count < 6
    assert stopped > 5


# --- how it is written ----------------------------------------------------------------------------------------------


def test_specifications_nest() -> None:
    plain = specify("staged:lookup,model=some/path")
    assert plain.options == Options("some/path", inner="lookup")
    assert plain.needs == Needs(model="some/path")
    assert specify("staged:model=some/path").options == plain.options
    nested = specify("staged:lookup:n=2:branches=3:k=6,model=some/path,horizontal=2,k=5")
    assert nested.num_speculative_tokens == 5
    assert nested.options.drafter.options == LookupOptions(n=2, branches=3)
    assert nested.options.drafter.num_speculative_tokens == 6
    made: Any = nested.family.build(nested.options, Provided(model=ToyModel(Tables.random(3, seed=0))))
    assert isinstance(made.inner, Lookup)
    assert (made.policy.num_speculative_tokens, made.horizontal) == (6, 2)


def test_wrong_specifications_are_refused() -> None:
    with pytest.raises(UnknownName, match="unknown drafter 'oracle'"):
        specify("staged:oracle,model=path")
    with pytest.raises(UsageError, match="lookup needs 1 <= min <= n"):
        specify("staged:lookup:min=9,model=path")
    with pytest.raises(UsageError, match="staged cannot speculate its model with 'model:small', which needs more than"):
        specify("staged:model:small,model=path")
    with pytest.raises(UsageError, match="drafter 'staged' needs model: write staged:model=…"):
        specify("staged:lookup")
    with pytest.raises(UsageError, match="drafter 'staged' needs a draft model: write staged:lookup,model=NAME"):
        specify("staged:lookup,model=path").family.build(Options("path"), Provided())


def test_greedy_drafts_of_a_ratio_verifier_carry_point_laws() -> None:
    drafter = Staged(ToyModel(Tables.random(VOCAB, order=1, seed=1)), lookup())
    state = drafter.open(Request((0, 1), 0))
    (tree,) = drafter.propose([asked(state, (0, 1), Rules(), Budget(6, 3), "sampled")])
    assert len(tree) == 6
    assert tree.laws == tuple(Point(token, VOCAB) for token in tree.tokens)
