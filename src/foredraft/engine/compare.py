"""The same prompt with and without speculation: both speeds, and whether the tokens are the same.

Speed counts from the scored prompt to the last token, the drafter's own work on the prompt included; scoring the prompt
is the same work for both and is left out.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from foredraft.core.errors import UsageError
from foredraft.core.events import Step
from foredraft.core.params import SamplingParams
from foredraft.core.protocols import Cache
from foredraft.engine.llm import DEFAULT_VERIFIER, LLM
from foredraft.engine.loop import generate, prefill
from foredraft.engine.outputs import Completion

# Tokens of an untimed run of each arm: first passes pay for memory and thread pools.
WARM_UP = 4


@dataclass(frozen=True)
class Arm:
    """One timed generation. seconds: from the scored prompt to the last token, and the drafter's opening.

    opening: the part of `seconds` before the first round: the drafter's opening and its own work on the prompt.
    """

    completion: Completion
    seconds: float
    opening: float = 0.0

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
        return first_difference(self.speculative.completion.token_ids, self.plain.completion.token_ids)


def first_difference(ours: Sequence[int], theirs: Sequence[int]) -> int | None:
    """The first position at which two texts differ, an early end included; None when they are the same."""
    if tuple(ours) == tuple(theirs):
        return None
    shorter = min(len(ours), len(theirs))
    return next((at for at in range(shorter) if ours[at] != theirs[at]), shorter)


def compare(
    llm: LLM, prompt: tuple[int, ...], params: SamplingParams, show: Callable[[Step], None] = lambda step: None
) -> Comparison:
    """Generates twice, with `llm`'s drafter and with none; `show` is told the steps of the speculative run.

    Raises UsageError where identity is not promised: another verifier than `match` above temperature 0.
    """
    verifier = params.verifier if params.verifier is not None else llm.verifier_name
    if verifier != DEFAULT_VERIFIER and params.temperature > 0:
        raise UsageError(
            f"above temperature 0 the tokens of verifier {verifier!r} depend on the drafter: compare at temperature 0, "
            f"or with {DEFAULT_VERIFIER!r}"
        )
    return race(llm, prompt, params, show)


def race(
    llm: LLM, prompt: tuple[int, ...], params: SamplingParams, show: Callable[[Step], None] = lambda step: None
) -> Comparison:
    """The two generations of `compare`, whatever is promised: another verifier may say another text of the same law."""
    if params.n != 1:
        raise UsageError("a comparison is of one text: n must be 1")
    if params.seed is None:
        params = replace(params, seed=secrets.randbits(32))
    plain, plainly = LLM(llm.loaded, "none"), replace(params, verifier=None)
    for arm, own in ((llm, params), (plain, plainly)):
        timed(arm.for_tenant("warm-up"), prompt, replace(own, max_tokens=WARM_UP, min_tokens=0))
    return Comparison(timed(llm, prompt, params, show), timed(plain, prompt, plainly))


def scored(plain: LLM, prompt: tuple[int, ...], params: SamplingParams) -> tuple[Cache, float]:
    """A cache that holds the prompt up to its last token, to be forked for several arms, and the seconds it took.

    plain: decodes without drafts.
    """
    sequence = plain.open(prompt, replace(params, verifier=None))
    try:
        begun = time.perf_counter()
        for _ in prefill(plain.loaded.model, plain.policy, sequence):
            pass
        return sequence.release(), time.perf_counter() - begun
    except BaseException:
        sequence.close()
        raise


def timed(
    llm: LLM,
    prompt: tuple[int, ...],
    params: SamplingParams,
    show: Callable[[Step], None] = lambda step: None,
    *,
    cache: Cache | None = None,
) -> Arm:
    """One generation, timed as this module says; `show` is told its steps.

    cache: one that holds the prompt up to its last token already (`scored`); it is closed here.
    """
    model = llm.loaded.model
    begun = time.perf_counter()
    sequence = llm.open(prompt, params, cache=cache)
    opening = time.perf_counter() - begun
    try:
        opening += sum(step.seconds.draft for step in prefill(model, llm.policy, sequence))
        begun, showing = time.perf_counter(), 0.0
        for _, step in generate(model, llm.policy, [sequence]):
            pause = time.perf_counter()
            show(step)
            showing += time.perf_counter() - pause
        return Arm(Completion.of(sequence), opening + time.perf_counter() - begun - showing, opening)
    finally:
        sequence.close()
