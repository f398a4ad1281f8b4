"""What a generation returns, under the names users know from vLLM."""

from __future__ import annotations

from dataclasses import dataclass

from foredraft.core.events import Step, TokenLogprob
from foredraft.core.sequence import Sequence
from foredraft.core.stop import Finish
from foredraft.engine.stats import Stats
from foredraft.engine.stats import stats as stats_of


@dataclass(frozen=True)
class Chunk:
    """What one round added to one choice. text: characters that became final; token_ids may run ahead of it."""

    choice: int
    text: str
    token_ids: tuple[int, ...]
    finish_reason: Finish | None
    logprobs: tuple[TokenLogprob, ...]
    step: Step


@dataclass(frozen=True)
class Completion:
    """One choice. finish_reason: "stop", "length", or "error" where the rules left no token; None when it was cut off.
    stop_reason: the token id, the string, or what went wrong.

    seed: the seed it can be repeated with. tok_s: tokens per second after the pass that took in the prompt.
    """

    index: int
    text: str
    token_ids: tuple[int, ...]
    finish_reason: Finish | None
    stop_reason: int | str | None
    seed: int
    logprobs: tuple[TokenLogprob, ...]
    steps: tuple[Step, ...]

    @staticmethod
    def of(sequence: Sequence) -> Completion:
        """The completion of a sequence, finished or not."""
        stop = sequence.stop
        return Completion(
            sequence.request.choice,
            "".join(step.text for step in sequence.steps) + stop.held,
            tuple(sequence.output),
            stop.finish,
            stop.reason,
            sequence.request.seed,
            tuple(logprob for step in sequence.steps for logprob in step.logprobs),
            tuple(sequence.steps),
        )

    @property
    def stats(self) -> Stats:
        """Totals over all rounds."""
        return stats_of(self.steps)

    @property
    def tok_s(self) -> float:
        return decode_speed(self.steps)


@dataclass(frozen=True)
class Output:
    """The choices for one prompt; text, token_ids and finish_reason are those of the first."""

    prompt_token_ids: tuple[int, ...]
    outputs: tuple[Completion, ...]

    @property
    def text(self) -> str:
        return self.outputs[0].text

    @property
    def token_ids(self) -> tuple[int, ...]:
        return self.outputs[0].token_ids

    @property
    def finish_reason(self) -> Finish | None:
        return self.outputs[0].finish_reason

    @property
    def stats(self) -> Stats:
        """Totals over all choices."""
        return stats_of(step for output in self.outputs for step in output.steps)


def decode_speed(steps: tuple[Step, ...]) -> float:
    """Tokens per second of the clock, after the first pass that emitted, which also took in the end of the prompt."""
    first = next((index for index, step in enumerate(steps) if step.tokens), 0)
    later = steps[first + 1 :] or steps
    seconds = sum(step.wall for step in later)
    return sum(len(step.tokens) for step in later) / seconds if seconds else 0.0
