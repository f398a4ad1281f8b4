"""Traced generations of a toy model whose words are made to break out of a page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from cases import Top
from foredraft.core.events import Step, Times
from foredraft.core.protocols import AnyDrafter, Request, Verifier
from foredraft.core.rules import Rules
from foredraft.core.stop import Stop, StopState
from foredraft.draft.none import Nothing
from foredraft.engine.compare import Arm, Comparison
from foredraft.engine.loop import generate, prefill
from foredraft.engine.outputs import Completion
from foredraft.engine.sequence import open_sequence
from foredraft.models.text import TextState
from foredraft.models.toy import Tables, ToyModel
from foredraft.policy.constant import Constant
from foredraft.trace.again import seen_again
from foredraft.trace.record import Json, record
from foredraft.verify.match import Match

WORDS = (
    " the",
    " square",
    "</script>",
    "<b onclick=alert(1)>",
    "\n",
    " é\u2028",
    "{{DATA}}",
    " &amp;",
    "<!--",
    " root",
)
TARGET = Tables.random(len(WORDS), 2, seed=1, context=600)
DRAFT = Tables(TARGET.tables[:2], TARGET.orders[:2], TARGET.positions, TARGET.out)  # knows less, agrees often
PROMPT = (1, 2, 3, 1, 2, 3, 1)


def decode(ids: Sequence[int]) -> str:
    return "".join(WORDS[token] for token in ids)


def spelt(token: int) -> str:
    return WORDS[token]


def traced(
    drafter: AnyDrafter | None = None, verifier: Verifier | None = None, *, rules: Rules | None = None, tokens: int = 40
) -> Json:
    """The record of a generation by a drafter that is right now and then; rows of 2, then 2, then 1."""
    drafting, model = drafter or Top(DRAFT, (2, 2, 1)), ToyModel(TARGET, context=600)
    given = rules or Rules(temperature=0.8)
    ours = arm(model, {"top": drafting}, verifier or Match(), given, tokens)
    found = Comparison(ours, arm(model, {"none": Nothing()}, Match(), given, tokens))
    seen = seen_again(model, PROMPT, given, ours.completion.steps)
    return record(found, seen, decode, spelt, decode(PROMPT), {"model": "<toy>"}, promised=True)


def arm(model: ToyModel, drafters: dict[str, AnyDrafter], verifier: Verifier, rules: Rules, tokens: int) -> Arm:
    """One generation; a round takes 20 ms, without drafts 12."""
    stop = StopState(Stop(frozenset(), (), tokens), TextState.of(decode))
    sequence = open_sequence(model, drafters, verifier, Request(PROMPT, 5, rules=rules), stop)
    for _ in prefill(model, Constant(10), sequence):
        pass
    for _ in generate(model, Constant(10), [sequence]):
        pass
    sequence.steps = [timed(step, 0.0 if "none" in drafters else 0.004) for step in sequence.steps]
    completion = Completion.of(sequence)
    sequence.close()
    return Arm(completion, sum(step.wall for step in completion.steps if step.tokens))


def timed(step: Step, draft: float) -> Step:
    """The step as if drafting had taken `draft` seconds, and the rest in proportion to what is usual."""
    seconds = Times(draft, 0.01 + draft, 0.001, 0.001)
    return replace(step, seconds=seconds, wall=seconds.total)
