"""The round: what is fed and kept, and that no schedule changes the text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest

from cases import Fixed, Random, Spam, Top, Without
from foredraft.core.errors import PromptError
from foredraft.core.protocols import AnyDrafter, Ask, Request, Verifier
from foredraft.core.round import run_round
from foredraft.core.rules import Logits, Rules
from foredraft.core.tree import EMPTY, DraftTree
from foredraft.draft.lookup import Lookup
from foredraft.draft.lookup import Options as LookupOptions
from foredraft.draft.model import ModelDrafter
from foredraft.draft.none import Nothing
from foredraft.engine.loop import generate, prefill
from foredraft.engine.sequence import fork, open_sequence
from foredraft.engine.stats import stats
from foredraft.models.toy import ToyModel
from foredraft.policy.constant import Constant
from foredraft.verify.match import Match
from foredraft.verify.recursive import Recursive
from rounds import DRAFT, PLAIN, PROMPT, TARGET, VOCAB, opened, run, stop


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
