"""The same prompt with and without speculation: both speeds, and whether the tokens are the same.

Speed counts from the scored prompt to the last token, the drafter's own work on the prompt included; scoring the prompt
is the same work for both and is left out.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from foredraft.core.errors import UsageError
from foredraft.core.events import Step
from foredraft.core.params import SamplingParams
from foredraft.engine.llm import DEFAULT_VERIFIER, LLM
from foredraft.engine.loop import generate, prefill
from foredraft.engine.outputs import Completion

# Tokens of an untimed run of each arm: first passes pay for memory and thread pools.
WARM_UP = 4


@dataclass(frozen=True)
class Arm:
    """One timed generation. seconds: from the scored prompt to the last token, and the drafter's opening."""

    completion: Completion
    seconds: float

    @property
    def tok_s(self) -> float:
        return len(self.completion.token_ids) / self.seconds


@dataclass(frozen=True)
class Comparison:
    """Speculative against plain decoding of one prompt with one seed."""

    speculative: Arm
    plain: Arm

    @property
    def identical(self) -> bool:
        return self.speculative.completion.token_ids == self.plain.completion.token_ids

    @property
    def speedup(self) -> float:
        """Plain seconds / speculative seconds, a token."""
        return self.speculative.tok_s / self.plain.tok_s

    def first_difference(self) -> int | None:
        """The first output position that differs; None when identical."""
        ours, theirs = self.speculative.completion.token_ids, self.plain.completion.token_ids
        if ours == theirs:
            return None
        pairs = zip(ours, theirs, strict=False)
        return next((at for at, (one, other) in enumerate(pairs) if one != other), min(len(ours), len(theirs)))


def compare(
    llm: LLM, prompt: tuple[int, ...], params: SamplingParams, show: Callable[[Step], None] = lambda step: None
) -> Comparison:
    """Generates twice, with `llm`'s drafter and with none; `show` is told the steps of the speculative run.

    Raises UsageError where identity is not promised: a ratio verifier above temperature 0.
    """
    if llm.verifier_name != DEFAULT_VERIFIER and params.temperature > 0:
        raise UsageError(
            f"above temperature 0 the tokens of verifier {llm.verifier_name!r} have the right law but depend on the "
            f"drafter: compare at temperature 0, or with {DEFAULT_VERIFIER!r}"
        )
    if params.n != 1:
        raise UsageError("a comparison is of one text: n must be 1")
    if params.seed is None:
        params = replace(params, seed=secrets.randbits(32))
    plain = LLM(llm.loaded, "none")
    for arm in (llm, plain):
        timed(arm, prompt, replace(params, max_tokens=WARM_UP, min_tokens=0))
    return Comparison(timed(llm, prompt, params, show), timed(plain, prompt, params))


def timed(
    llm: LLM, prompt: tuple[int, ...], params: SamplingParams, show: Callable[[Step], None] = lambda step: None
) -> Arm:
    """One generation, timed as this module says; `show` is told its steps."""
    model = llm.loaded.model
    begun = time.perf_counter()
    sequence = llm.open(prompt, params)
    opening = time.perf_counter() - begun
    try:
        opening += sum(step.seconds.draft for step in prefill(model, llm.policy, sequence))
        begun, showing = time.perf_counter(), 0.0
        for _, step in generate(model, llm.policy, [sequence]):
            pause = time.perf_counter()
            show(step)
            showing += time.perf_counter() - pause
        return Arm(Completion.of(sequence), opening + time.perf_counter() - begun - showing)
    finally:
        sequence.close()
