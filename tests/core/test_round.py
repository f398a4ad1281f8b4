"""The round: what is fed and kept, what a broken drafter may do, and that no schedule changes the text."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest

from cases import Broken, Double, Fixed, Random, Spam, Top, Without, make_world, net_logits
from foredraft.core.errors import PromptError
from foredraft.core.law import Point
from foredraft.core.protocols import AnyDrafter, Ask, Needs, News, Query, Request, Verifier
from foredraft.core.round import run_round
from foredraft.core.rules import Logits, MinTokens, Rules
from foredraft.core.sequence import Sequence as Seq
from foredraft.core.stop import Stop, StopState
from foredraft.core.tree import EMPTY, ROOT, DraftTree
from foredraft.draft.lookup import Lookup
from foredraft.draft.lookup import Options as LookupOptions
from foredraft.draft.model import ModelDrafter
from foredraft.draft.none import Nothing
from foredraft.engine.loop import generate, prefill
from foredraft.engine.sequence import fork, open_sequence
from foredraft.engine.stats import stats
from foredraft.models.toy import Tables, ToyModel
from foredraft.policy.constant import Constant
from foredraft.verify.match import Match
from foredraft.verify.recursive import Recursive

VOCAB = 8
TARGET = Tables.random(VOCAB, 2, seed=1, context=64)
DRAFT = Tables(TARGET.tables[:2], TARGET.orders[:2], TARGET.positions, TARGET.out)  # knows less, agrees often
PROMPT = (1, 2, 3, 1, 2, 3, 1)
WARM = Rules(temperature=0.8)


def stop(max_tokens: int = 24, ids: Sequence[int] = ()) -> StopState:
    return StopState(Stop(frozenset(ids), (), max_tokens))


def opened(
    drafter: AnyDrafter,
    verifier: Verifier | None = None,
    *,
    model: ToyModel | None = None,
    prompt: tuple[int, ...] = PROMPT,
    rules: Rules = WARM,
    ending: StopState | None = None,
    seed: int = 5,
    **options: Any,
) -> Seq:
    request = Request(prompt, seed, rules=rules)
    made = model if model is not None else ToyModel(TARGET)
    return open_sequence(made, drafter, verifier or Match(), request, ending or stop(), **options)


def run(sequence: Seq, *, tokens: int = 4, model: ToyModel | None = None) -> list[int]:
    """The whole generation; between rounds the cache never holds the newest token."""
    made = model if model is not None else ToyModel(TARGET)
    for _ in generate(made, Constant(tokens), [sequence]):
        assert sequence.cache.length <= len(sequence.committed) - 1
        assert sequence.cache.path == sequence.committed[: sequence.cache.length]  # type: ignore[attr-defined]
    return sequence.output


PLAIN = run(opened(Nothing()))


def drafters() -> dict[str, AnyDrafter]:
    return {
        "lookup": Lookup(LookupOptions()),
        "lookup_tree": Lookup(LookupOptions(branches=4)),
        "model": ModelDrafter(ToyModel(DRAFT)),
        "model_tree": ModelDrafter(ToyModel(DRAFT), (3, 2, 1)),
        "same_model": ModelDrafter(ToyModel(TARGET)),
        "top": Top(DRAFT, (2, 2)),
        "sampled": Without(DRAFT, (2, 1)),
        "random": Random(DRAFT, (2, 1)),
        "end_of_text": Spam(DRAFT, (2, 1, 1)),
    }


@pytest.mark.parametrize("name", drafters())
@pytest.mark.parametrize("temperature", [0.0, 0.8, 2.0])
def test_speculation_changes_no_token_under_match(name: str, temperature: float) -> None:
    rules = Rules(temperature=temperature, top_p=0.95)
    for seed in range(5):
        plain = run(opened(Nothing(), rules=rules, seed=seed))
        sequence = opened(drafters()[name], rules=rules, seed=seed)
        assert run(sequence, tokens=6) == plain
        assert not stats(sequence.steps).faults


@pytest.mark.parametrize("name", drafters())
def test_speculation_changes_no_greedy_token_under_recursive_rejection(name: str) -> None:
    sequence = opened(drafters()[name], Recursive(), rules=Rules())
    assert run(sequence, tokens=6) == run(opened(Nothing(), rules=Rules()))
    assert not stats(sequence.steps).faults


def test_a_drafter_that_knows_the_target_is_accepted_whole() -> None:
    sequence = opened(ModelDrafter(ToyModel(TARGET)), ending=stop(25))
    assert run(sequence) == run(opened(Nothing(), ending=stop(25)))
    assert stats(sequence.steps).mean_acceptance_length == 5.0


def test_an_end_token_within_the_block_ends_text_and_statistics() -> None:
    end = PLAIN[6]
    ending = stop(ids=(end,))
    plain = run(opened(Nothing(), ending=ending))
    assert plain == PLAIN[: PLAIN.index(end) + 1]
    sequence = opened(ModelDrafter(ToyModel(TARGET)), ending=ending)
    assert run(sequence, tokens=12) == plain
    total = stats(sequence.steps)
    assert (total.tokens, total.accepted) == (len(plain), len(plain))
    assert sequence.steps[-1].finish == "stop"


@dataclass(frozen=True)
class Silent:
    """A rule that leaves no token once `end` was said, as a grammar does when it is complete."""

    end: int
    over: bool = False

    def apply(self, logits: Logits) -> Logits:
        return np.full_like(logits, -np.inf) if self.over else logits

    def after(self, token: int) -> Silent:
        return replace(self, over=self.over or token == self.end)


@pytest.mark.parametrize("verifier", [Match(), Recursive()])
def test_drafts_past_the_end_of_text_do_no_harm_when_nothing_may_follow_it(verifier: Verifier) -> None:
    """An accepted end token's own row has no law: the text is over there, as in plain decoding."""
    end = PLAIN[1]
    rules = Rules((Silent(end),), temperature=0.0)
    always = Fixed(DraftTree.chain([end, end, end], "fixed").with_point_laws(VOCAB))
    only = replace(rules, steps=(Only((end,)), *rules.steps))
    sequence = opened(always, verifier, rules=only, ending=stop(ids=(end,)))
    assert run(sequence) == [end]
    assert sequence.steps[-1].finish == "stop"
    assert sequence.steps[-1].accepted == 1


@pytest.mark.parametrize("drafter", [Nothing(), Fixed(DraftTree.chain([3, 3, 3], "fixed").with_point_laws(VOCAB))])
def test_rules_that_leave_nothing_end_the_text_where_plain_decoding_would(drafter: AnyDrafter) -> None:
    """Without an end token there, the same tokens are said before the same error."""
    sequence = opened(drafter, Recursive(), rules=Rules((Only((3,)), Silent(3)), temperature=1.0))
    run(sequence)
    assert sequence.output == [3]
    assert sequence.stop.finish == "error"
    assert "relax" in str(sequence.stop.reason)
    assert sequence.steps[-1].finish == "error"


def test_a_text_that_cannot_go_on_leaves_the_others_of_its_round_alone() -> None:
    alone = opened(Nothing(), Match())
    run(alone)
    batch = [
        opened(Nothing(), Match()),
        opened(Nothing(), Match(), rules=Rules((Only((3,)), Silent(3)))),
        opened(Nothing(), Match()),
    ]
    model = ToyModel(TARGET)
    for _ in generate(model, Constant(0), batch):
        pass
    assert [one.stop.finish for one in batch] == ["length", "error", "length"]
    assert batch[0].output == batch[2].output == alone.output
    assert all(sum(len(step.tokens) for step in one.steps) == len(one.output) for one in batch)


class Scribbler(Nothing):
    """Writes into the text it was shown."""

    def propose(self, asks: Sequence[Ask[Any]]) -> list[DraftTree]:
        asks[0].committed[-1] = 0  # type: ignore[index]
        return [EMPTY]


def test_drafters_cannot_write_into_the_text() -> None:
    sequence, plain = opened(Scribbler(), Match()), opened(Nothing(), Match())
    assert run(sequence) == run(plain)
    assert all("TypeError" in str(step.fault) for step in sequence.steps[:-1])


@dataclass(frozen=True)
class Only:
    """Nothing but these tokens."""

    ids: tuple[int, ...]

    def apply(self, logits: Logits) -> Logits:
        out = np.full_like(logits, -np.inf)
        out[list(self.ids)] = 0.0
        return out

    def after(self, token: int) -> Only:
        return self


def test_the_context_is_filled_to_its_end_and_no_further() -> None:
    for drafter in (Nothing(), ModelDrafter(ToyModel(TARGET, context=64), ()), Top(TARGET, (2, 2, 2))):
        model = ToyModel(TARGET, context=12)
        sequence = opened(drafter, model=model, ending=stop(5))
        assert run(sequence, tokens=8, model=model) == PLAIN[:5]
        assert len(sequence.committed) == 12


@pytest.mark.parametrize(("prompt", "message"), [((), "the prompt is empty"), ((1,) * 12, "shorten it by 1")])
def test_a_prompt_that_does_not_fit_is_refused(prompt: tuple[int, ...], message: str) -> None:
    with pytest.raises(PromptError, match=message):
        opened(Nothing(), model=ToyModel(TARGET, context=12), prompt=prompt)


# --- prompts, batches, choices --------------------------------------------------------------------------------------


@pytest.mark.parametrize("chunk", [1, 2, 3, 6, 7, 512])
def test_a_prompt_fed_in_chunks_gives_the_same_text(chunk: int) -> None:
    model, policy, sequence = ToyModel(TARGET), Constant(4), opened(Lookup(LookupOptions()))
    while not sequence.finished:
        run_round(model, policy, [sequence], chunk=chunk)
    assert sequence.output == PLAIN
    chunks = [step.rows for step in sequence.steps if not step.tokens]
    assert sum(chunks) < len(PROMPT)
    assert all(rows == chunk for rows in chunks)


def test_prefill_stops_before_the_last_token_and_forks_share_it() -> None:
    model, policy = ToyModel(TARGET), Constant(4)
    first = opened(Lookup(LookupOptions()), rules=Rules(temperature=1.5))
    assert [step.tokens for step in prefill(model, policy, first)] == [()]
    assert first.cache.length == len(PROMPT) - 1
    second = fork(first, 1)
    together = [first, second]
    for _ in generate(model, policy, together):
        pass
    assert first.output == run(opened(Nothing(), rules=Rules(temperature=1.5)))
    assert second.output != first.output
    alone = open_sequence(model, Nothing(), Match(), Request(PROMPT, 5, choice=1, rules=Rules(temperature=1.5)), stop())
    assert run(alone) == second.output


def test_sequences_of_a_batch_share_passes_and_say_what_they_say_alone() -> None:
    prompts = [(1, 2, 3), (4,), (1, 1, 1, 1, 1), (7, 0, 7, 0)]
    drafter = ModelDrafter(ToyModel(DRAFT), (2, 2))
    makers = [drafter, Nothing(), drafter, Lookup(LookupOptions())]
    alone = [
        run(opened(maker, prompt=prompt, ending=stop(4 + 5 * index), seed=index))
        for index, (maker, prompt) in enumerate(zip(makers, prompts, strict=True))
    ]
    model = ToyModel(TARGET)
    batch = [
        opened(maker, model=model, prompt=prompt, ending=stop(4 + 5 * index), seed=index)
        for index, (maker, prompt) in enumerate(zip(makers, prompts, strict=True))
    ]
    rounds = 0
    for sequence, _ in generate(model, Constant(4), batch):
        rounds += sequence is batch[-1]
    assert [sequence.output for sequence in batch] == alone
    assert model.passes == max(len(sequence.steps) for sequence in batch)


def test_the_text_does_not_depend_on_how_much_is_drafted() -> None:
    for tokens in range(7):
        assert run(opened(ModelDrafter(ToyModel(DRAFT), (2, 1, 1))), tokens=tokens) == PLAIN


# --- broken drafters ------------------------------------------------------------------------------------------------


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


# --- what a step tells ----------------------------------------------------------------------------------------------


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
