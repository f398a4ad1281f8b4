"""The model drafter: its cache is the committed text, its laws are those of a fresh pass, its passes are shared."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from cases import net_logits, rules_after
from foredraft.core.law import Law, Point, without
from foredraft.core.params import SamplingParams
from foredraft.core.protocols import Ask, Budget, Draw, Query, Request, Verifier
from foredraft.core.rules import Rules, rules_of
from foredraft.core.sequence import Sequence as Seq
from foredraft.core.stop import Stop, StopState
from foredraft.core.stream import KeyedStream, Purpose
from foredraft.core.tree import EMPTY, ROOT, DraftTree, check
from foredraft.draft.model import CHUNK, ModelDrafter
from foredraft.draft.model_laws import fit
from foredraft.draft.model_tree import KEPT
from foredraft.engine.loop import generate
from foredraft.engine.sequence import open_sequence
from foredraft.engine.stats import stats
from foredraft.models.toy import Tables, ToyModel
from foredraft.policy.constant import Constant
from foredraft.verify.match import Match
from foredraft.verify.recursive import Recursive

VOCAB = 6
TARGET = Tables.random(VOCAB, 2, seed=21, context=64)
DRAFT = Tables(TARGET.tables[:2], TARGET.orders[:2], TARGET.positions, TARGET.out)
PROMPT = (3, 1, 4, 1, 5)
RULES = Rules(temperature=0.9)


class Watched(ToyModel):
    """Notes the tokens of every pass."""

    def __init__(self, net: Tables, context: int = 64) -> None:
        super().__init__(net, context=context)
        self.fed: list[list[int]] = []

    def score(self, queries: Sequence[Query]) -> list[Any]:
        self.fed.append([len(query.tokens) for query in queries])
        return super().score(queries)


class Verified(ModelDrafter):
    """Recomputes every law and every coupled or likeliest child from scratch, each round."""

    rounds = 0

    def propose(self, asks: Sequence[Ask[Any]]) -> list[DraftTree]:
        trees = super().propose(asks)
        for ask, tree in zip(asks, trees, strict=True):
            if any(token >= self.model.about.vocab_size for token in ask.committed):
                assert tree == EMPTY
                continue
            check(tree, ask.vocab_size, ask.budget.rows, ask.budget.depth, ask.draw == "sampled")
            for node in (ROOT, *range(len(tree))):
                self.children(ask, tree, node)
            for branch in ask.state.branches:
                assert branch.held == branch.cache.path
                assert branch.held[: len(ask.committed) - 1] == list(ask.committed[:-1])
        self.rounds += 1
        return trees

    def children(self, ask: Ask[Any], tree: DraftTree, node: int) -> None:
        path = [tree.tokens[step] for step in tree.path(node)] if node != ROOT else []
        logits = fit(net_logits(self.model.net, (*ask.committed, *path)), ask.vocab_size)  # type: ignore[attr-defined]
        law: Law | None = rules_after(ask.rules, path).law_of(logits)
        assert law is not None
        children = tree.children(node)
        tokens = [tree.tokens[child] for child in children]
        if ask.draw == "sampled" and not isinstance(law, Point):
            left: Law | None = law
            for child in children:
                told = tree.laws[child]
                assert left is not None
                assert told is not None
                np.testing.assert_array_equal(told.dense(), left.dense())
                left = without(left, tree.tokens[child])
        elif ask.draw == "coupled" and not isinstance(law, Point):
            assert tokens == ask.stream.ahead(len(path)).rank(law, len(tokens), Purpose.TARGET)
        elif tokens:
            assert tokens[0] == law.mode()


def opened(
    drafter: ModelDrafter,
    verifier: Verifier | None = None,
    *,
    rules: Rules = RULES,
    seed: int = 0,
    prompt: tuple[int, ...] = PROMPT,
    most: int = 30,
) -> Seq:
    request = Request(prompt, seed, rules=rules)
    ending = StopState(Stop(frozenset(), (), most))
    return open_sequence(ToyModel(TARGET), drafter, verifier or Match(), request, ending)


def finish(sequence: Seq, tokens: int = 4) -> None:
    for _, step in generate(ToyModel(TARGET), Constant(tokens), [sequence]):
        assert step.fault is None, step.fault


def propose(drafter: ModelDrafter, text: Sequence[int], rows: int, depth: int, draw: Draw, **kw: Any) -> DraftTree:
    state = drafter.open(Request(tuple(text), 0))
    rules = kw.get("rules", RULES)
    (tree,) = drafter.propose(
        [Ask(state, list(text), rules, Budget(rows, depth), draw, KeyedStream(3).at(0), kw.get("vocab_size", VOCAB))]
    )
    return tree


PENALISED = rules_of(
    SamplingParams(temperature=0.9, frequency_penalty=0.6, repetition_penalty=1.2, min_tokens=4, top_p=0.95),
    prompt=PROMPT,
    vocab_size=VOCAB,
    stop_ids=(0,),
    bad_words=((1, 1), (2,)),
)


@pytest.mark.parametrize("widths", [(), (1, 1, 1, 1), (2, 2), (1, 3, 1), (3, 1, 1)])
@pytest.mark.parametrize("verifier", [Match(), Recursive()], ids=["match", "recursive"])
@pytest.mark.parametrize("rules", [RULES, Rules(), PENALISED], ids=["warm", "greedy", "penalised"])
def test_drafts_are_those_of_a_fresh_pass_every_round(
    widths: tuple[int, ...], verifier: Verifier, rules: Rules
) -> None:
    drafter = Verified(ToyModel(DRAFT), widths)
    sequence = opened(drafter, verifier, rules=rules)
    finish(sequence, tokens=7 if widths else 4)
    total = stats(sequence.steps)
    assert drafter.rounds > 3
    assert total.accepted > 0
    assert total.drafted > total.accepted


def test_the_cache_is_trimmed_after_a_rejection_and_catches_up_after_full_acceptance() -> None:
    """One row a step: the root alone after a rejection, the last draft and the root after full acceptance."""
    model = Watched(DRAFT)
    drafter = ModelDrafter(model)
    sequence = opened(drafter)
    steps = iter(generate(ToyModel(TARGET), Constant(3), [sequence]))
    _, before = next(steps)
    assert model.fed == [[len(PROMPT)], [1], [1]]
    whole = rejected = 0
    for _, step in steps:
        fed, model.fed = model.fed[3:] if not whole and not rejected else model.fed, []
        if step.drafted:
            all_accepted = before.accepted == before.drafted
            assert fed == [[2 if all_accepted else 1], *[[1]] * (step.drafted - 1)]
            whole, rejected = whole + all_accepted, rejected + (not all_accepted)
        before = step
    assert whole > 0
    assert rejected > 0


def test_a_batch_shares_every_pass_of_the_draft() -> None:
    alone = []
    for seed, length in enumerate((1, 3, 5)):
        sequence = opened(ModelDrafter(ToyModel(DRAFT), (2, 1, 1)), seed=seed, prompt=PROMPT[:length], most=12)
        finish(sequence, 6)
        alone.append(([step.tree for step in sequence.steps], sequence.output))
    model = ToyModel(DRAFT)
    drafter = ModelDrafter(model, (2, 1, 1))
    batch = [opened(drafter, seed=seed, prompt=PROMPT[:length], most=12) for seed, length in enumerate((1, 3, 5))]
    drafting = []
    for sequence, step in generate(ToyModel(TARGET), Constant(6), batch):
        if sequence is batch[0] or not drafting:
            drafting.append(0)
        drafting[-1] = max(drafting[-1], step.tree.depth)
    assert [([step.tree for step in sequence.steps], sequence.output) for sequence in batch] == alone
    rounds = max(len(sequence.steps) for sequence in batch)
    deepest = [
        max((each.steps[turn].tree.depth for each in batch if turn < len(each.steps)), default=0)
        for turn in range(rounds)
    ]
    assert model.passes == sum(deepest)


def test_a_forked_state_goes_its_own_way() -> None:
    drafter = ModelDrafter(ToyModel(DRAFT))
    request = Request(PROMPT, 0)
    parent = drafter.open(request)
    budget = Budget(2, 2)
    ask = Ask(parent, list(PROMPT), RULES, budget, "coupled", KeyedStream(0), VOCAB)
    (first,) = drafter.propose([ask])
    child = drafter.open(request, parent=parent)
    assert [branch.held for branch in child.branches] == [branch.held for branch in parent.branches]
    longer = Ask(child, [*PROMPT, 0, 0], RULES, budget, "coupled", KeyedStream(0), VOCAB)
    drafter.propose([longer])
    assert drafter.propose([ask]) == [first]
    drafter.close(child)
    drafter.close(parent)


def test_a_long_text_is_caught_up_in_pieces() -> None:
    net = Tables.random(VOCAB, 1, seed=4, context=CHUNK * 2 + 50)
    model = Watched(net, context=CHUNK * 2 + 50)
    text = [int(token) for token in np.random.default_rng(0).integers(0, VOCAB, size=CHUNK * 2 + 10)]
    tree = propose(ModelDrafter(model), text, 3, 3, "point")
    assert model.fed == [[CHUNK], [CHUNK], [10], [1], [1]]
    said: list[int] = []
    for token in tree.tokens:
        assert token == int(np.argmax(net_logits(net, (*text, *said))))
        said.append(token)


# --- how tokens are chosen ------------------------------------------------------------------------------------------


def test_a_draft_for_match_carries_no_laws_and_one_for_ratios_does() -> None:
    drafter = ModelDrafter(ToyModel(DRAFT), (2, 2))
    assert set(propose(drafter, PROMPT, 6, 2, "coupled").laws) == {None}
    assert set(propose(drafter, PROMPT, 6, 2, "point").laws) == {None}
    assert None not in propose(drafter, PROMPT, 6, 2, "sampled").laws


def test_chosen_without_chance_are_the_likeliest() -> None:
    tree = propose(ModelDrafter(ToyModel(DRAFT), (3,)), PROMPT, 3, 1, "point")
    logits = net_logits(DRAFT, PROMPT)
    assert list(tree.tokens) == [int(token) for token in np.argsort(-logits)[:3]]
    law = RULES.law_of(logits)
    np.testing.assert_allclose(tree.score, [np.log(law.prob(token)) for token in tree.tokens])


def test_greedy_siblings_are_the_likeliest_and_carry_point_laws() -> None:
    tree = propose(ModelDrafter(ToyModel(DRAFT), (3,)), PROMPT, 3, 1, "sampled", rules=Rules())
    assert list(tree.tokens) == [int(token) for token in np.argsort(-net_logits(DRAFT, PROMPT))[:3]]
    assert tree.laws == tuple(Point(token, VOCAB) for token in tree.tokens)


def test_scores_add_up_along_paths() -> None:
    tree = propose(ModelDrafter(ToyModel(DRAFT), (2, 2, 1)), PROMPT, 10, 3, "coupled")
    for node, parent in enumerate(tree.parents):
        assert tree.score[node] <= (0.0 if parent == ROOT else tree.score[parent])


@pytest.mark.parametrize("rows", range(1, 9))
@pytest.mark.parametrize("widths", [(), (3, 2, 1), (1, 2, 2)])
def test_the_budget_is_kept(rows: int, widths: tuple[int, ...]) -> None:
    for depth in (1, 2, 4):
        tree = propose(ModelDrafter(ToyModel(DRAFT), widths), PROMPT, rows, depth, "sampled")
        check(tree, VOCAB, rows, depth, needs_laws=True)
        assert len(tree) > 0


def test_rules_that_leave_the_draft_nothing_end_the_draft() -> None:
    blind = Tables.random(VOCAB, 1, seed=1, zeros=1.0, context=64)  # says 0 and nothing else
    rules = rules_of(SamplingParams(temperature=1.0), prompt=PROMPT, vocab_size=VOCAB, stop_ids=(), bad_words=((0, 0),))
    drafter = ModelDrafter(ToyModel(blind))
    assert propose(drafter, PROMPT, 4, 4, "sampled", rules=rules).tokens == (0,)
    sequence = opened(drafter, Recursive(), rules=rules)
    finish(sequence)
    assert (0, 0) not in zip(sequence.output, sequence.output[1:], strict=False)


# --- vocabularies and contexts that differ --------------------------------------------------------------------------


@pytest.mark.parametrize("size", [VOCAB - 2, VOCAB + 3])
@pytest.mark.parametrize("verifier", [Match(), Recursive()], ids=["match", "recursive"])
@pytest.mark.parametrize("widths", [(), (2, 2)])
def test_a_draft_vocabulary_of_another_size_is_cut_or_filled(
    size: int, verifier: Verifier, widths: tuple[int, ...]
) -> None:
    drafter = Verified(ToyModel(Tables.random(size, 1, seed=6, context=64)), widths)
    prompt, rare = (1, 2, 3), SamplingParams(temperature=0.9, logit_bias={VOCAB - 2: -2.0, VOCAB - 1: -2.0})
    rules = rules_of(rare, prompt=prompt, vocab_size=VOCAB, stop_ids=())
    sequence = opened(drafter, verifier, rules=rules, prompt=prompt, most=40)
    for _, step in generate(ToyModel(TARGET), Constant(4), [sequence]):
        assert step.fault is None
        assert all(token < min(size, VOCAB) for token in step.tree.tokens)
    total = stats(sequence.steps)
    assert total.accepted > 0
    if size < VOCAB:  # a text with a token the draft does not know is not drafted for
        unknown = next(index for index, token in enumerate(sequence.output) if token >= size)
        assert all(step.drafted == 0 for step in sequence.steps if step.position > unknown)


def test_padding_is_cut_and_missing_tokens_are_impossible() -> None:
    logits = np.array([1.0, 2.0, 3.0])
    np.testing.assert_array_equal(fit(logits, 2), [1.0, 2.0])
    np.testing.assert_array_equal(fit(logits, 3), logits)
    np.testing.assert_array_equal(fit(logits, 5), [1.0, 2.0, 3.0, -np.inf, -np.inf])


def test_a_text_too_long_for_the_draft_is_not_drafted_for() -> None:
    model = ToyModel(DRAFT, context=12)
    drafter = ModelDrafter(model)
    assert propose(drafter, (1,) * 9, 3, 3, "coupled").depth == 3
    assert propose(drafter, (1,) * 10, 3, 3, "coupled") == EMPTY
    sequence = opened(drafter, most=30)
    finish(sequence)
    assert len(sequence.output) == 30
    assert stats(sequence.steps).drafts > 0
    assert sequence.steps[-1].drafted == 0


# --- the end of a long text -----------------------------------------------------------------------------------------


def wish(state: Any, text: Sequence[int], depth: int = 2) -> Ask[Any]:
    return Ask(state, list(text), Rules(), Budget(depth, depth), "coupled", KeyedStream(0), VOCAB)


def test_of_a_long_prompt_the_end_is_read() -> None:
    """And its first tokens; what is drafted is what the model says after that text alone."""
    text = [int(token) for token in np.random.default_rng(1).integers(0, VOCAB, 30)]
    short = [*text[:KEPT], *text[-8:]]
    model = Watched(DRAFT)
    drafter = ModelDrafter(model, window=8)
    state = drafter.open(Request(tuple(text), 0))
    assert drafter.behind(state, text) == len(short)
    (tree,) = drafter.propose([wish(state, text)])
    assert model.fed[0] == [len(short)]
    other = ModelDrafter(ToyModel(DRAFT, context=64))
    assert [tree] == other.propose([wish(other.open(Request(tuple(short), 0)), short)])
    said = [*text, tree.tokens[0], 3]
    assert drafter.behind(state, said) == 1
    drafter.propose([wish(state, said)])
    assert model.fed[2] == [1], "the first draft came true, and is in the cache"
    fork = drafter.open(Request(tuple(text), 0), state)
    assert drafter.propose([wish(fork, said)]) == drafter.propose([wish(state, said)])


def test_a_short_prompt_is_read_whole() -> None:
    drafter, whole = (ModelDrafter(ToyModel(DRAFT, context=64), window=window) for window in (16, 0))
    trees = [each.propose([wish(each.open(Request(PROMPT, 0)), PROMPT)]) for each in (drafter, whole)]
    assert trees[0] == trees[1]
    assert whole.behind(whole.open(Request(PROMPT, 0)), PROMPT) == len(PROMPT)


def test_a_text_that_outgrows_the_draft_model_is_begun_again_at_its_end() -> None:
    text = [int(token) for token in np.random.default_rng(2).integers(0, VOCAB, 60)]
    drafter = ModelDrafter(ToyModel(DRAFT, context=24), window=8)
    state = drafter.open(Request(tuple(text[:20]), 0))
    for length in range(20, 60):
        (tree,) = drafter.propose([wish(state, text[:length])])
        assert len(tree) == 2
