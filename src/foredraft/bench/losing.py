"""Where drafting loses: the texts that took longer than plain decoding, worst first, and what the time went into."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from foredraft.bench.entrants import NONE, PLAIN
from foredraft.bench.record import Case, Trial
from foredraft.bench.statistics import loops


@dataclass(frozen=True)
class Loss:
    """One text of one drafter.

    speedup: plain / own seconds a token, below 1. length: tokens a pass. pass_cost: seconds of a pass, in plain passes.
    drafting: its share of the time. acceptance: accepted / drafted, None where nothing was drafted.
    """

    id: str
    task: str
    drafter: str
    speedup: float
    tokens: int
    length: float
    pass_cost: float
    drafting: float
    acceptance: float | None
    loops: bool

    @property
    def why(self) -> str:
        """The larger of its troubles, in a few words."""
        if self.acceptance is None:
            return "nothing to draft; asking took time" if self.drafting > 0.02 else "nothing to draft; noise"
        if self.length >= self.pass_cost:
            return "drafting took what passes saved" if self.drafting > 0.05 else "within the noise of the machine"
        return "passes cost more than they brought"


def losses(cases: Sequence[Case], drafters: Sequence[str]) -> list[Loss]:
    """All texts slower than plain decoding, worst first; plain decoding beside itself left out."""
    found = [_loss(case, drafter) for case in cases for drafter in drafters if drafter != NONE]
    return sorted((one for one in found if one.speedup < 1), key=lambda one: one.speedup)


def _loss(case: Case, drafter: str) -> Loss:
    plain, own = case.trials[PLAIN], case.trials[drafter]
    stats = own.stats
    drafting = (own.opening + stats.seconds.draft) / own.seconds
    return Loss(
        case.id,
        case.task,
        drafter,
        _a_token(plain) / _a_token(own),
        len(own.tokens),
        stats.mean_acceptance_length,
        _a_pass(own) / _a_pass(plain),
        drafting,
        stats.draft_acceptance_rate if stats.drafted else None,
        loops(plain.tokens),
    )


def _a_token(trial: Trial) -> float:
    return trial.seconds / max(1, len(trial.tokens))


def _a_pass(trial: Trial) -> float:
    return (trial.stats.seconds.verify or trial.seconds) / max(1, trial.stats.passes)
