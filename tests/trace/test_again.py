"""What the second look reads is what the target's own law says, node by node."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from cases import EXACT, Random, Spam, Top, Without, net_logits, rules_after
from foredraft.core.protocols import AnyDrafter, Request, Verifier
from foredraft.core.rules import MinTokens, Rules
from foredraft.core.sequence import Sequence as Seq
from foredraft.core.stop import Stop, StopState
from foredraft.core.tree import ROOT
from foredraft.draft.lookahead import Lookahead, Options
from foredraft.draft.none import Nothing
from foredraft.engine.loop import generate, prefill
from foredraft.engine.sequence import open_sequence
from foredraft.models.toy import Tables, ToyModel
from foredraft.policy.constant import Constant
from foredraft.trace.again import TOP, Judged, entropy, seen_again, telling
from foredraft.verify.match import Match
from foredraft.verify.recursive import Recursive

VOCAB = 8
TARGET = Tables.random(VOCAB, 2, seed=1, context=64)
DRAFT = Tables(TARGET.tables[:2], TARGET.orders[:2], TARGET.positions, TARGET.out)
PROMPT = (1, 2, 3, 1, 2, 3, 1)

RULES = {
    "greedy": Rules(),
    "greedy, with what it does not use": Rules(top_k=1, top_p=0.3),
    "warm": Rules(temperature=0.8),
    "narrow": Rules(temperature=1.1, top_k=3),
    "rules that follow the text": Rules(steps=(MinTokens(9, (2, 5)),), temperature=1.0),
}

DRAFTERS: dict[str, tuple[AnyDrafter, Verifier]] = {
    "plain": (Nothing(), Match()),
    "a tree": (Top(DRAFT, (2, 2)), Match()),
    "nonsense": (Spam(DRAFT, (2, 2)), Match()),
    "sampled": (Without(DRAFT, (2, 2)), Recursive()),
    "probes": (Lookahead(Options()), Match()),
}


def generated(drafter: AnyDrafter, verifier: Verifier, rules: Rules, tokens: int = 24) -> Seq:
    model, stop = ToyModel(TARGET), StopState(Stop(frozenset(), (), tokens))
    sequence = open_sequence(model, drafter, verifier, Request(PROMPT, 5, rules=rules), stop)
    for _ in prefill(model, Constant(6), sequence):
        pass
    for _ in generate(model, Constant(6), [sequence]):
        pass
    return sequence


def due(rules: Rules, said: Sequence[int]) -> np.ndarray:
    """The target's law after the prompt and `said`, from scratch: no pass, no tree, no cache."""
    return rules_after(telling(rules), said).law_of(net_logits(TARGET, (*PROMPT, *said))).dense()


@pytest.mark.parametrize("rules", RULES)
@pytest.mark.parametrize("drafter", DRAFTERS)
def test_every_node_and_token_has_the_targets_own_probability(drafter: str, rules: str) -> None:
    sequence = generated(*DRAFTERS[drafter], RULES[rules])
    seen = seen_again(ToyModel(TARGET), PROMPT, RULES[rules], sequence.steps)
    assert len(seen) == len(sequence.steps)
    rejected = 0
    for step, own in zip(sequence.steps, seen, strict=True):
        before, tree = sequence.output[: step.position], step.tree
        assert len(own.drafts) == len(tree)
        assert len(own.tokens) == len(step.tokens)
        for node, prob in enumerate(own.drafts):
            path = () if tree.parents[node] == ROOT else tree.path(tree.parents[node])
            law = due(RULES[rules], [*before, *(tree.tokens[one] for one in path)])
            assert abs(prob - law[tree.tokens[node]]) < EXACT
            rejected += node not in step.path
        for place, judged in enumerate(own.tokens):
            check(judged, step.tokens[place], due(RULES[rules], [*before, *step.tokens[:place]]))
    assert drafter == "plain" or rejected > 0


def check(judged: Judged, token: int, law: np.ndarray) -> None:
    assert abs(judged.prob - law[token]) < EXACT
    assert abs(judged.entropy - sum(-p * math.log2(p) for p in law if p > 0)) < EXACT
    best = sorted((one for one in range(VOCAB) if law[one] > 0), key=lambda one: -law[one])[:TOP]
    assert [one for one, _ in judged.top] == best
    assert all(abs(prob - law[one]) < EXACT for one, prob in judged.top)


def test_a_certain_law_has_no_entropy() -> None:
    assert entropy(Rules().law_of(np.array([0.0, 3.0, 1.0]))) == 0.0
    assert entropy(Rules(temperature=1.0).law_of(np.zeros(8))) == pytest.approx(3.0, abs=EXACT)


def test_steps_of_another_text_are_refused() -> None:
    sequence = generated(Random(DRAFT, (2, 2)), Match(), Rules())
    with pytest.raises(ValueError, match="are they its own"):
        seen_again(ToyModel(TARGET), PROMPT[:-2], Rules(), [step for step in sequence.steps if step.tokens])


def test_the_cache_is_given_back() -> None:
    model, opened = ToyModel(TARGET), []
    original = model.open
    model.open = lambda: opened.append(original()) or opened[-1]  # type: ignore[method-assign, func-returns-value]
    steps = generated(Nothing(), Match(), Rules()).steps
    seen_again(model, PROMPT, Rules(), steps)
    with pytest.raises(ValueError, match="are they its own"):
        seen_again(model, PROMPT, Rules(), [replace(steps[-1], rows=99)])
    assert [cache.path for cache in opened] == [[], []]
