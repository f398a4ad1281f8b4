"""Log probabilities are those of plain decoding, whatever drafted and verified: from the model's own logits."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from cases import Double, Iid, Mixed, Top, Without
from foredraft.core.events import TokenLogprob
from foredraft.core.native import TWINS
from foredraft.core.protocols import AnyDrafter, Query, Request
from foredraft.core.rules import Rules
from foredraft.core.sequence import Sequence
from foredraft.core.stop import Stop, StopState
from foredraft.draft.lookup import Lookup, Options
from foredraft.draft.model import ModelDrafter
from foredraft.draft.none import Nothing
from foredraft.engine.loop import generate
from foredraft.engine.sequence import open_sequence
from foredraft.models.toy import Tables, ToyModel
from foredraft.policy.constant import Constant
from foredraft.verify import VERIFIERS, make_verifier

SIZE, TOKENS, COUNT = 7, 14, 3
NET = Tables.random(SIZE, 2, seed=21, context=40)
DRAFT = Tables(NET.tables[:2], NET.orders[:2], NET.positions, NET.out)
MODEL = ToyModel(NET, context=40)
PROMPT = (3, 1, 4, 1, 3, 1)


def double(kind: type[Double], *widths: int) -> Callable[[], AnyDrafter]:
    return lambda: kind(DRAFT, widths)


DRAFTERS: dict[str, Callable[[], AnyDrafter]] = {
    "lookup": lambda: Lookup(Options(n=2, branches=2)),
    "model chain": lambda: ModelDrafter(ToyModel(DRAFT, context=40)),
    "model tree": lambda: ModelDrafter(ToyModel(DRAFT, context=40), (2, 2)),
    "with replacement": double(Iid, 2, 1),
    "without replacement": double(Without, 2, 1),
    "points": double(Top, 2, 2),
    "mixed": double(Mixed, 2, 1),
}


def decoded(drafter: AnyDrafter, verifier: str, seed: int, temperature: float, logprobs: int | None) -> Sequence:
    rules = Rules(temperature=temperature, top_p=0.95)
    sequence = open_sequence(
        MODEL,
        drafter,
        make_verifier(verifier, allow_lossy=True),
        Request(PROMPT, seed, rules=rules),
        StopState(Stop(frozenset({0}), (), TOKENS)),
        logprobs=logprobs,
    )
    for _, step in generate(MODEL, Constant(6), [sequence]):
        assert step.fault is None, step.fault
    return sequence


def reported(sequence: Sequence) -> list[TokenLogprob]:
    return [one for step in sequence.steps for one in step.logprobs]


def fresh(output: list[int]) -> list[TokenLogprob]:
    """One pass over the whole text, nothing drafted: what each of its tokens had."""
    text = (*PROMPT, *output)
    rows = tuple(range(len(PROMPT) - 1, len(text) - 1))
    (scores,) = MODEL.score([Query(MODEL.open(), text, tuple(range(-1, len(text) - 1)), rows)])
    found = []
    for row, token in zip(rows, output, strict=True):
        logprobs = TWINS.log_softmax(scores.logits(row))
        best = np.argsort(-logprobs, kind="stable")[:COUNT]
        found.append(
            TokenLogprob(token, float(logprobs[token]), tuple((int(one), float(logprobs[one])) for one in best))
        )
    return found


@pytest.mark.parametrize("temperature", [0.0, 0.9])
@pytest.mark.parametrize("drafter", DRAFTERS)
@pytest.mark.parametrize("verifier", VERIFIERS)
def test_logprobs_are_those_of_the_text_alone(verifier: str, drafter: str, temperature: float) -> None:
    """Bit for bit; and those of plain decoding where the text is plain decoding's."""
    accepted = rejected = same = 0
    for seed in range(6):
        sequence = decoded(DRAFTERS[drafter](), verifier, seed, temperature, COUNT)
        assert reported(sequence) == fresh(sequence.output)
        plain = decoded(Nothing(), "match", seed, temperature, COUNT)
        if sequence.output == plain.output:
            assert reported(sequence) == reported(plain)
            same += 1
        accepted += sum(step.accepted for step in sequence.steps)
        rejected += sum(step.accepted < step.tree.depth for step in sequence.steps)
    assert accepted
    assert rejected
    assert same == 6 or (verifier != "match" and temperature > 0)


def test_only_what_is_asked_for_is_reported() -> None:
    assert reported(decoded(DRAFTERS["model tree"](), "traversal", 1, 0.9, None)) == []
    alone = reported(decoded(DRAFTERS["model tree"](), "traversal", 1, 0.9, 0))
    assert alone
    assert all(one.top == () for one in alone)
