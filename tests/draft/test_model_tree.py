"""Trees of a draft model that grow by confidence, paths that stop by it, and heads of some tokens."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from cases import net_logits, rules_after
from foredraft.core.errors import WeightsError
from foredraft.core.law import Law
from foredraft.core.params import SamplingParams
from foredraft.core.protocols import Ask, Budget, Draw, Query, Request
from foredraft.core.rules import Rules, rules_of
from foredraft.core.stream import KeyedStream, Purpose
from foredraft.core.tree import ROOT, DraftTree, check
from foredraft.draft.model import ModelDrafter
from foredraft.draft.model_laws import Spoken, children
from foredraft.draft.model_tree import Branch, Shape
from foredraft.models.toy import Tables, ToyCache, ToyModel

VOCAB = 7
NET = Tables.random(VOCAB, 2, seed=31, context=64)
GREEDY = Rules()
WARM = Rules(temperature=0.8)
CONTEXTS = 1000


def markov(*laws: Sequence[float]) -> Tables:
    """The next token depends on the last one alone: laws[last]."""
    size = len(laws)
    table = np.log([*laws, [1 / size] * size])
    return Tables((table,), (0,), np.zeros((64, size)), np.eye(size))


def proposed(
    net: Tables,
    shape: Shape,
    text: Sequence[int],
    budget: Budget,
    rules: Rules = GREEDY,
    draw: Draw = "coupled",
    **kw: Any,
) -> DraftTree:
    drafter = ModelDrafter(ToyModel(net), shape=shape, **kw)
    state = drafter.open(Request(tuple(text), 0))
    ask = Ask(state, list(text), rules, budget, draw, KeyedStream(5).at(2), net.vocab_size)
    (tree,) = drafter.propose([ask])
    check(tree, net.vocab_size, budget.rows, budget.depth, draw == "sampled")
    drafter.close(state)
    return tree


def chances(tree: DraftTree) -> dict[tuple[int, ...], float]:
    """The tokens of every path, and what the tree says of it."""
    return {
        tuple(tree.tokens[step] for step in tree.path(node)): math.exp(tree.score[node]) for node in range(len(tree))
    }


# --- EAGLE-2 --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rows", "paths"),
    [
        (1, {(1,): 0.6}),
        (4, {(1,): 0.6, (2,): 0.3, (1, 0): 0.3, (2, 2): 0.21}),
        (6, {(1,): 0.6, (2,): 0.3, (1, 0): 0.3, (2, 2): 0.21, (1, 1): 0.18, (1, 0, 1): 0.18}),
    ],
)
def test_expand_and_rerank_by_hand(rows: int, paths: dict[tuple[int, ...], float]) -> None:
    """2406.16858, section 4: K = 2 and three levels over a chain of three words.

    After 0: 1 (.6) and 2 (.3). Both are expanded: 1 0 (.3), 1 1 (.18), 2 2 (.21), 2 0 (.06). The two likeliest of
    these are: 1 0 1 (.18), 1 0 2 (.09), 2 2 2 (.147), 2 2 0 (.042). Of all ten the likeliest are scored.
    """
    net = markov((0.1, 0.6, 0.3), (0.5, 0.3, 0.2), (0.2, 0.1, 0.7))
    tree = proposed(net, Shape(dynamic=2, depth=3), (1, 0), Budget(rows, 8))
    found = chances(tree)
    assert found.keys() == paths.keys()
    for path, chance in paths.items():
        assert found[path] == pytest.approx(chance)


def eagle2(
    net: Tables, text: Sequence[int], k: int, depth: int, rows: int, rules: Rules
) -> dict[tuple[int, ...], float]:
    """Straight from the paper, with a fresh pass for every node: expand the k likeliest of a level, then rerank all."""
    every: dict[tuple[int, ...], float] = {}
    frontier: list[tuple[tuple[int, ...], float]] = [((), 1.0)]
    for _ in range(depth):
        level = []
        for path, chance in frontier:
            logits = net_logits(net, (*text, *path))
            at = rules_after(rules, path)
            probs = np.exp(logits) / np.exp(logits).sum() if not at.temperature else at.law_of(logits).dense()
            best = sorted(range(len(probs)), key=lambda token, probs=probs: (-probs[token], token))[:k]  # type: ignore[misc]
            level += [((*path, token), chance * probs[token]) for token in best]
        every |= dict(level)
        frontier = sorted(level, key=lambda one: -one[1])[:k]
    return dict(sorted(every.items(), key=lambda one: -one[1])[:rows])


@pytest.mark.parametrize(("rules", "draw"), [(GREEDY, "coupled"), (WARM, "point")], ids=["greedy", "warm"])
def test_the_slow_twin_agrees_on_random_contexts(rules: Rules, draw: Draw) -> None:
    generator = np.random.default_rng(8)
    for _ in range(CONTEXTS // 2):
        text = generator.integers(0, VOCAB, generator.integers(1, 6)).tolist()
        k, depth, rows = (int(generator.integers(1, most)) for most in (5, 5, 14))
        found = chances(proposed(NET, Shape(dynamic=k, depth=depth), text, Budget(rows, 9), rules, draw))
        wanted = eagle2(NET, text, k, depth, rows, rules)
        assert found.keys() == wanted.keys(), (text, k, depth, rows)
        np.testing.assert_allclose(list(found.values()), [wanted[path] for path in found], rtol=1e-9)


def test_a_dynamic_tree_for_ratios_is_drawn_without_chance() -> None:
    first, second = (
        proposed(NET, Shape(dynamic=3, depth=3), (1, 2, 3), Budget(9, 4), WARM, draw) for draw in ("sampled", "point")
    )
    assert (first.tokens, first.parents, first.score) == (second.tokens, second.parents, second.score)
    assert all(law is not None and law.prob(token) == 1 for law, token in zip(first.laws, first.tokens, strict=True))


def test_a_dynamic_tree_for_match_shares_the_targets_noise() -> None:
    tree = proposed(NET, Shape(dynamic=3, depth=2), (1, 2, 3), Budget(12, 4), WARM)
    for node in (ROOT, *range(len(tree))):
        tokens = [tree.tokens[child] for child in tree.children(node)]
        path = [tree.tokens[step] for step in tree.path(node)] if node != ROOT else []
        law = WARM.law_of(net_logits(NET, (1, 2, 3, *path)))
        assert tokens == KeyedStream(5).at(2).ahead(len(path)).rank(law, len(tokens), Purpose.TARGET)


# --- what a pass feeds ----------------------------------------------------------------------------------------------


class Fed(ToyModel):
    """Notes the rows of every query of every pass."""

    def __init__(self, net: Tables) -> None:
        super().__init__(net)
        self.fed: list[list[int]] = []

    def score(self, queries: Sequence[Query]) -> list[Any]:
        self.fed.append([len(query.tokens) for query in queries])
        return super().score(queries)


@pytest.mark.parametrize("shape", [Shape((3, 2, 1)), Shape(dynamic=3, depth=3)], ids=str)
def test_a_level_feeds_one_row_a_node_and_accepted_ones_never_again(shape: Shape) -> None:
    model = Fed(NET)
    drafter = ModelDrafter(model, shape=shape)
    state = drafter.open(Request((1, 2, 3), 0))

    def draft(text: Sequence[int]) -> DraftTree:
        model.fed.clear()
        ask = Ask(state, list(text), GREEDY, Budget(15, 3), "coupled", KeyedStream(5).at(0), VOCAB)
        (tree,) = drafter.propose([ask])
        return tree

    tree = draft((1, 2, 3))
    assert model.fed[0] == [3]
    assert all(rows == 1 for level in model.fed[1:] for rows in level)
    assert len(model.fed[1]) == 3
    inner = [node for node in range(len(tree)) if tree.children(node) and tree.depths[node] == 2]
    for node in inner:  # two of the tree accepted, and a token that was not drafted
        again = drafter.open(Request((1, 2, 3), 0), state)
        path = [tree.tokens[step] for step in tree.path(node)]
        model.fed.clear()
        drafter.propose([Ask(again, [1, 2, 3, *path, 6], GREEDY, Budget(1, 1), "coupled", KeyedStream(5).at(3), VOCAB)])
        assert model.fed == [[1]], "an accepted node was fed again"
        drafter.close(again)
    assert inner
    kept = len(state.branches)
    draft((1, 2, 3, 6))
    assert len(state.branches) <= kept
    drafter.close(state)


def test_branches_of_earlier_rounds_are_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    made, gone = list[Any](), list[Any]()
    fork, close = Branch.fork, ToyCache.close
    monkeypatch.setattr(
        Branch, "fork", lambda branch: made.append(fork(branch).cache) or Branch(made[-1], [*branch.held])
    )
    monkeypatch.setattr(ToyCache, "close", lambda cache: gone.append(cache) or close(cache))
    drafter = ModelDrafter(ToyModel(NET), (3, 2, 1))
    state = drafter.open(Request((1,), 0))
    for text in ((1,), (1, 4), (1, 4, 2), (1, 4, 2, 2)):
        drafter.propose([Ask(state, list(text), GREEDY, Budget(15, 3), "coupled", KeyedStream(5).at(0), VOCAB)])
        kept = [branch.cache for branch in state.branches]
        assert len(made) + 1 == len(kept) + len(gone)
    drafter.close(state)
    assert len(gone) == len(made) + 1 > 4


# --- stopping -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("threshold", "length"), [(0.0, 4), (0.25, 4), (0.35, 3), (0.55, 2), (0.65, 1), (1.0, 1)])
def test_a_chain_stops_after_the_first_token_below_the_threshold(threshold: float, length: int) -> None:
    """0 is followed by 1 (.6), 1 by 2 (.5), 2 by 3 (.3), 3 by 3 (.4): the token that is too unlikely is kept."""
    net = markov((0.1, 0.6, 0.2, 0.1), (0.2, 0.2, 0.5, 0.1), (0.24, 0.23, 0.23, 0.3), (0.2, 0.2, 0.2, 0.4))
    tree = proposed(net, Shape(threshold=threshold), (0,), Budget(4, 4))
    assert tree.tokens == (1, 2, 3, 3)[:length]


def test_only_sure_tokens_of_a_tree_are_gone_on_from() -> None:
    net = markov((0.1, 0.6, 0.3), (0.5, 0.3, 0.2), (0.2, 0.1, 0.7))
    assert set(chances(proposed(net, Shape((2, 2), threshold=0.5), (0,), Budget(9, 4)))) == {(1,), (2,), (1, 0), (1, 1)}
    assert set(chances(proposed(net, Shape(dynamic=2, threshold=0.5, depth=2), (0,), Budget(9, 4)))) == {
        *((1,), (2,), (1, 0), (1, 1))
    }


@pytest.mark.parametrize("rules", [GREEDY, WARM], ids=["greedy", "warm"])
@pytest.mark.parametrize("draw", ["point", "coupled", "sampled"])
def test_the_policy_may_stop_a_path(rules: Rules, draw: Draw) -> None:
    """It is told what the draft gives each token, the path, and the entropy of the law the token was taken from."""
    told: list[tuple[float, float, float]] = []

    @dataclass(frozen=True)
    class Asking:
        most: int

        def __call__(self, chance: float, path: float, entropy: Callable[[], float]) -> bool:
            told.append((chance, path, entropy()))
            return len(told) == self.most

    text = [2, 5, 1]
    for most in (1, 2, 5):
        told.clear()
        tree = proposed(NET, Shape(), text, Budget(4, 4, stop=Asking(most)), rules, draw)
        assert len(tree) == min(most, 4)
        for node, (chance, path, entropy) in enumerate(told):
            logits = net_logits(NET, (*text, *tree.tokens[:node]))
            law = (rules if rules.temperature else Rules(temperature=1.0)).law_of(logits)
            probs = law.dense()
            assert chance == pytest.approx(law.prob(tree.tokens[node]))
            assert path == pytest.approx(math.exp(tree.score[node]))
            assert entropy == pytest.approx(float(-(probs * np.log(probs)).sum()))


def test_a_level_that_cannot_bring_enough_is_not_begun() -> None:
    net = markov((0.1, 0.6, 0.3), (0.5, 0.3, 0.2), (0.2, 0.1, 0.7))
    assert len(proposed(net, Shape(), (0,), Budget(6, 6, min_step=0.35))) == 2  # .6, .3
    assert len(proposed(net, Shape(), (0,), Budget(6, 6, min_step=0.25))) == 3  # .6, .3, .18
    assert proposed(net, Shape(dynamic=2), (0,), Budget(9, 6, min_step=0.55)).depth == 1 + 1  # .9, then .51
    assert len(proposed(net, Shape(), (0,), Budget(6, 6, min_step=0.9), WARM, "sampled")) == 6  # drawn whole


def test_below_a_node_that_is_not_worth_its_row_nothing_is_drafted() -> None:
    net = markov((0.1, 0.6, 0.3), (0.5, 0.3, 0.2), (0.2, 0.1, 0.7))
    assert len(proposed(net, Shape(), (0,), Budget(6, 6, min_gain=0.35))) == 2  # .6, .3
    assert len(proposed(net, Shape(), (0,), Budget(6, 6, min_gain=0.9), WARM, "sampled")) == 6  # drawn whole


def test_depth_bounds_every_shape() -> None:
    for shape in (Shape(depth=2), Shape((2, 1, 1, 1), depth=2), Shape(dynamic=2, depth=2)):
        assert proposed(NET, shape, (0, 1), Budget(20, 9)).depth == 2


# --- what is said of a token ----------------------------------------------------------------------------------------


def ask_of(draw: Draw, rules: Rules) -> Ask[None]:
    return Ask(None, [1], rules, Budget(4, 4), draw, KeyedStream(9).at(0), VOCAB)


@pytest.mark.parametrize("draw", ["coupled", "sampled"])
def test_chances_of_drawn_siblings_add_up_to_no_more_than_one(draw: Draw) -> None:
    generator = np.random.default_rng(4)
    for _ in range(200):
        found = children(
            ask_of(draw, WARM), WARM, generator.normal(scale=3, size=VOCAB), None, depth=0, node=0, count=5
        )
        assert all(0 < child.chance <= 1 for child in found)
        assert sum(child.chance for child in found) <= 1 + 1e-6
        assert found[0].chance >= found[0].prob


@pytest.mark.parametrize(
    "rules", [GREEDY, WARM, Rules(temperature=0.7, top_p=0.8), Rules(temperature=1.0, top_k=3)], ids=str
)
@pytest.mark.parametrize("draw", ["point", "coupled", "sampled"])
def test_a_head_of_some_tokens_is_a_model_that_never_says_the_others(rules: Rules, draw: Draw) -> None:
    """The same children whether the impossible tokens are looked at or not."""
    says, generator = np.array([0, 2, 3, 6]), np.random.default_rng(6)
    for _ in range(300):
        logits = np.full(VOCAB, -np.inf)
        logits[says] = generator.normal(scale=2, size=len(says))
        whole, few = (
            children(ask_of(draw, rules), rules, logits, which, depth=1, node=3, count=3) for which in (None, says)
        )
        assert [child.token for child in few] == [child.token for child in whole]
        np.testing.assert_allclose([child.chance for child in few], [child.chance for child in whole], rtol=1e-12)
        for one, other in zip(few, whole, strict=True):
            assert (one.law is None) == (other.law is None) == (draw != "sampled")
            if one.law is not None and other.law is not None:
                np.testing.assert_allclose(one.law.dense(), other.law.dense(), rtol=1e-12)


def test_rules_with_a_memory_see_the_whole_vocabulary() -> None:
    """A bias lifts a token that the head has, and none that it has not."""
    params = SamplingParams(temperature=1.0, logit_bias={2: 50.0, 1: 100.0})
    rules = rules_of(params, prompt=(1,), vocab_size=VOCAB, stop_ids=())
    logits = np.full(VOCAB, -np.inf)
    logits[[0, 2]] = 0.0
    found = children(ask_of("point", rules), rules, logits, np.array([0, 2]), depth=0, node=0, count=4)
    assert [child.token for child in found] == [2, 0]


class Grammar:
    """Only `ids` may follow; told as few, or as a mask."""

    def __init__(self, ids: Sequence[int], few: bool) -> None:
        self.ids, self.is_few = np.array(ids, dtype=np.int64), few

    def few(self) -> Any:
        return self.ids if self.is_few else None

    def apply(self, logits: Any) -> Any:
        out = np.full_like(logits, -np.inf)
        out[self.ids] = logits[self.ids]
        return out

    def after(self, token: int) -> Grammar:
        return self


@pytest.mark.parametrize("few", [True, False])
@pytest.mark.parametrize("rules", [GREEDY, WARM], ids=["greedy", "warm"])
def test_a_grammar_masks_the_draft_before_it_draws(few: bool, rules: Rules) -> None:
    generator = np.random.default_rng(2)
    for says in (None, np.array([0, 1, 4, 5])):
        for _ in range(50):
            logits = generator.normal(size=VOCAB)
            bound: Any = Rules(grammar=Grammar([1, 5, 6], few), temperature=rules.temperature)  # type: ignore[arg-type]
            if says is not None:
                logits[np.setdiff1d(np.arange(VOCAB), says)] = -np.inf
            for draw in ("point", "coupled", "sampled"):
                found = children(ask_of(draw, bound), bound, logits, says, depth=0, node=0, count=VOCAB)
                assert {child.token for child in found} == ({1, 5, 6} if says is None else {1, 5})
    nothing: Any = Rules(grammar=Grammar([], few))
    assert children(ask_of("point", nothing), nothing, np.zeros(VOCAB), None, depth=0, node=0, count=2) == []


def test_logits_that_are_no_numbers_are_told() -> None:
    for wrong in (np.nan, np.inf):
        with pytest.raises(WeightsError, match="not numbers"):
            children(ask_of("point", GREEDY), GREEDY, np.array([0.0, wrong, 1.0]), None, depth=0, node=0, count=1)
    assert Spoken(np.full(3, -np.inf), None).silent


def test_laws_of_a_drawn_tree_are_those_drawn_from() -> None:
    """Siblings by chance, over a head: each law leaves out its earlier siblings and what the head cannot say."""
    says = np.array([0, 2, 3, 6])
    tree = proposed(NET, Shape((3,)), (1, 2), Budget(3, 1), WARM, "sampled", says=says)
    gone: list[int] = []
    for token, law in zip(tree.tokens, tree.laws, strict=True):
        assert isinstance(law, Law)
        assert set(law.support()[0]) == set(says) - set(gone)
        gone.append(token)
