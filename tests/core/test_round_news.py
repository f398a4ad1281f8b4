"""What a round asks of the model, tells its drafter, and leaves in its steps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from cases import Fixed, Top, make_world, net_logits
from foredraft.core.law import Point
from foredraft.core.protocols import Ask, Needs, News, Query
from foredraft.core.round import run_round
from foredraft.core.rules import Logits, MinTokens, Rules
from foredraft.core.tree import EMPTY, ROOT, DraftTree
from foredraft.draft.model import ModelDrafter
from foredraft.models.toy import ToyModel
from foredraft.policy.constant import Constant
from foredraft.verify.recursive import Recursive
from rounds import DRAFT, PLAIN, PROMPT, TARGET, opened, run, stop


def test_steps_report_the_models_own_logprobs_and_the_laws() -> None:
    rules = Rules(temperature=0.7, top_k=4)
    sequence = opened(ModelDrafter(ToyModel(DRAFT), (2, 2)), rules=rules, logprobs=3, keep_laws=True)
    run(sequence)
    text = list(PROMPT)
    for step in sequence.steps:
        assert len(step.logprobs) == len(step.laws) == len(step.tokens)
        for token, logprob, law in zip(step.tokens, step.logprobs, step.laws, strict=True):
            logits = net_logits(TARGET, text)
            logs = logits - np.logaddexp.reduce(logits)
            assert logprob.token == token
            assert logprob.logprob == pytest.approx(logs[token])
            assert [other for other, _ in logprob.top] == [int(other) for other in np.argsort(-logs)[:3]]
            np.testing.assert_allclose(law.dense(), rules.law_of(logits).dense())
            text.append(token)


def test_news_tell_what_was_committed_and_where_its_rows_are() -> None:
    told: list[News[Any]] = []

    class Listener(Top):
        needs = Needs(taps=(1,), top=2)

        def update(self, news: Sequence[News[Any]]) -> None:
            for item in news:
                committed = list(item.committed)
                rows = item.taps(1)
                assert len(rows) == len(item.kept)
                for offset in range(len(item.kept)):
                    path = committed[: item.start + offset + 1]
                    np.testing.assert_array_equal(rows[offset], TARGET.states(path)[1])
                assert item.start + len(item.kept) <= len(committed) - 1
                if item.verdict is not None:
                    best, logits = item.scores.top(item.row(ROOT))
                    assert logits[0] >= logits[1]
                    assert len(best) == 2
            told.extend(news)

    model, policy, sequence = ToyModel(TARGET), Constant(6), opened(Listener(DRAFT, (2, 2)))
    while not sequence.finished:
        run_round(model, policy, [sequence], chunk=3)
    assert [token for item in told for token in item.tokens] == PLAIN
    assert [item.verdict is None for item in told[:3]] == [True, True, False]


def test_a_query_feeds_what_the_cache_lacks_then_the_tree() -> None:
    asked: list[Query] = []

    class Watched(ToyModel):
        def score(self, queries: Sequence[Query]) -> list[Any]:
            asked.extend(queries)
            return super().score(queries)

    tree = DraftTree.of([1, 2, 3], [ROOT, ROOT, 0], "x")
    model = Watched(TARGET)
    sequence = opened(Fixed(tree), model=model, ending=stop(9))
    run_round(model, Constant(3), [sequence])
    assert asked[0].tokens == (*PROMPT, 1, 2, 3)
    assert asked[0].parents == (-1, 0, 1, 2, 3, 4, 5, 6, 6, 7)
    assert asked[0].logits == (6, 7, 8, 9)
    assert sequence.steps[0].rows == 10


class Anything:
    """A grammar that allows everything."""

    def allows(self, token: int) -> bool:
        return True

    def few(self) -> None:
        return None

    def prefix(self, tokens: Sequence[int]) -> int:
        return len(tokens)

    def forced(self) -> tuple[tuple[int, ...], int]:
        return (), 0

    def apply(self, logits: Logits) -> Logits:
        return logits

    def after(self, token: int) -> Anything:
        return self


@pytest.mark.parametrize(
    ("rules", "changes", "needs", "wanted"),
    [
        (Rules(), {}, Needs(), True),
        (Rules(temperature=0.5), {}, Needs(), False),
        (Rules((MinTokens(1, (2,)),)), {}, Needs(), False),
        (Rules(grammar=Anything()), {}, Needs(), False),
        (Rules(), {"logprobs": 0}, Needs(), False),
        (Rules(), {}, Needs(top=1), True),
    ],
    ids=["greedy", "drawn", "ruled", "under a grammar", "with logprobs", "with the likeliest tokens"],
)
def test_greedy_rounds_ask_for_the_argmax_alone(rules: Rules, changes: Any, needs: Needs, wanted: bool) -> None:
    """Unless somebody reads more than that."""
    asked: list[bool] = []

    class Watched(ToyModel):
        def score(self, queries: Sequence[Query]) -> list[Any]:
            asked.extend(query.argmax_only for query in queries)
            return super().score(queries)

    model, drafter = Watched(TARGET), Fixed(DraftTree.of([1, 2, 3], [ROOT, ROOT, 0], "x"))
    drafter.needs = needs
    sequence = opened(drafter, model=model, rules=rules, ending=stop(3), **changes)
    while not sequence.finished:
        run_round(model, Constant(3), [sequence])
    assert asked == [wanted] * len(asked) != []


def test_no_draft_is_asked_for_when_one_token_is_left() -> None:
    asked: list[int] = []

    class Counting(Top):
        def grow(self, ask: Ask[Any]) -> DraftTree:
            asked.append(ask.budget.depth)
            return EMPTY

    run(opened(Counting(DRAFT, ()), ending=stop(4)), tokens=8)
    assert asked == [3, 2, 1]


def test_a_point_law_needs_no_noise() -> None:
    world = make_world("unlike", "greedy", vocab_size=3, max_tokens=3, stops=0, seed=3)
    assert isinstance(world.p(()), Point)


def test_steps_keep_trees_without_their_laws() -> None:
    """Laws over a large vocabulary, kept for every round, would fill the memory."""
    sequence = opened(ModelDrafter(ToyModel(DRAFT)), Recursive())
    run(sequence)
    assert any(len(step.tree) for step in sequence.steps)
    assert all(law is None for step in sequence.steps for law in step.tree.laws)
