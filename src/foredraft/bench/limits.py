"""What limits a speed-up, from a run beside plain decoding: drafting, the growth of passes, acceptance, or the rest.

Speed-up is tokens a round over what a round costs in plain ones. The figures here take that apart, step by step: it
would be the mean acceptance length if rounds cost what plain ones do; then passes of several rows take their share,
then drafting, then all that is left. And the other way round: what would it be if one of these cost nothing?
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from foredraft.bench.entrants import PLAIN
from foredraft.bench.record import Case, Trial

Limit = str
DRAFTING, GROWTH, ACCEPTANCE, REST = "drafting", "growth", "acceptance", "rest"


@dataclass(frozen=True)
class Limits:
    """Means of a round, in plain rounds. tokens: emitted. verify: what the pass takes, where plain passes take
    `plain_verify` and 1 - plain_verify is what plain rounds spend otherwise. draft: drafting, the work on the prompt
    included. rest: sampling, text, statistics. rows: scored. drafted: nodes. depth: of the longest branch.
    drafting: share of rounds that draft.
    """

    tokens: float
    verify: float
    draft: float
    rest: float
    plain_verify: float
    rows: float
    drafted: float
    depth: float
    drafting: float

    @property
    def speedup(self) -> float:
        return self.tokens / (self.verify + self.draft + self.rest)

    @property
    def growth(self) -> float:
        """What a pass takes, in plain passes."""
        return self.verify / self.plain_verify

    @property
    def after_passes(self) -> float:
        """The speed-up if drafting cost nothing and the rest what it does in plain rounds."""
        return self.tokens / (self.verify + 1.0 - self.plain_verify)

    @property
    def after_drafting(self) -> float:
        """The speed-up if only the rest cost what it does in plain rounds."""
        return self.tokens / (self.verify + self.draft + 1.0 - self.plain_verify)

    @property
    def without(self) -> dict[Limit, float]:
        """The speed-up if drafting took no time; if passes took what plain ones do; if drafts were right to the end
        of the longest branch; if the rest took what it does in plain rounds.
        """
        spent = self.verify + self.draft + self.rest
        plain_rest = 1.0 - self.plain_verify
        return {
            DRAFTING: self.tokens / (spent - self.draft),
            GROWTH: self.tokens / (spent - self.verify + min(self.verify, self.plain_verify)),
            ACCEPTANCE: max(self.tokens, 1.0 + self.depth) / spent,
            REST: self.tokens / (spent - self.rest + min(self.rest, plain_rest)),
        }

    @property
    def main(self) -> Limit:
        """That whose absence would help most."""
        return max(self.without, key=self.without.__getitem__)

    @property
    def arithmetic(self) -> float:
        """Rows scored for each token emitted, where plain decoding scores one (2211.17192, theorem 3.11)."""
        return self.rows / self.tokens


def limits_of(cases: Sequence[Case], arm: str) -> Limits:
    """What the cases say of one arm beside plain decoding. ValueError where it emitted nothing."""
    plain, own = ([case.trials[name] for case in cases] for name in (PLAIN, arm))
    steps = [step for trial in own for step in trial.steps if step.tokens]
    passes = [step for trial in plain for step in trial.steps if step.tokens]
    if not steps or not passes:
        raise ValueError("nothing was emitted")
    # Prompts may differ in how long they take a token, so a plain round is priced where its text was said.
    tokens = sum(len(step.tokens) for step in steps)
    one = _seconds(plain) / len(passes)
    verify = math.fsum(step.seconds.verify for step in steps)
    draft = math.fsum(trial.opening for trial in own) + math.fsum(step.seconds.draft for step in steps)
    count = len(steps)
    return Limits(
        tokens=tokens / count,
        verify=verify / count / one,
        draft=draft / count / one,
        rest=max(0.0, _seconds(own) - verify - draft) / count / one,
        plain_verify=math.fsum(step.seconds.verify for step in passes) / len(passes) / one,
        rows=sum(1 + len(step.tree) for step in steps) / count,
        drafted=sum(step.drafted for step in steps) / count,
        depth=sum(step.tree.depth for step in steps) / count,
        drafting=sum(step.drafted > 0 for step in steps) / count,
    )


def _seconds(trials: Sequence[Trial]) -> float:
    return math.fsum(trial.seconds for trial in trials)
