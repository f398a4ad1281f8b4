"""What another setting would have brought, from a recorded run: its texts drafted otherwise (`replay.py`), its rounds
priced by what they cost when it ran (`prices.py`).

The model is not asked. Texts stay the same whatever is drafted, so which drafts would have stood is known; the rest is
what a round costs. What that assumes is said with every prediction.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from foredraft.bench.entrants import NONE, PLAIN
from foredraft.bench.prices import Prices, plain_pass, prices_of
from foredraft.bench.record import Case, Json, Trial
from foredraft.bench.replay import KINDS, Kind, Recording, Setting, replay, sources_of
from foredraft.bench.report import Figures, run_json
from foredraft.bench.statistics import Pair, speedup
from foredraft.core.errors import UsageError
from foredraft.core.events import Step, Times
from foredraft.core.protocols import Costs
from foredraft.draft import line_up

AS_RECORDED = Setting()
LEAST = 0.1  # of what a plain pass took, whatever the prices say
SIMULATED = "simulated"  # the arm of a predicted trial
# Keys of a run that a prediction has too.
KEPT = (
    "speedup",
    "speedup_ci",
    "mean_acceptance_length",
    "draft_acceptance_rate",
    "acceptance_by_position",
    "drafted",
    "accepted",
    "time",
)


@dataclass(frozen=True)
class Recorded:
    """One arm of a run that can be replayed. full: nodes a round was allowed, None where a policy decided."""

    arm: str
    cases: tuple[Case, ...]
    cap: int
    full: int | None
    prices: Prices

    def plain(self, case: Case) -> float:
        """Seconds of a plain pass of a case, such that its recorded rounds, priced with it, take what they did.

        How dear rows are depends on the context, and the machine on the minute: what the prices get wrong about a case
        is taken to be the same for another setting. It is the difference from the recorded run that is predicted.
        """
        trial, one = case.trials[self.arm], plain_pass(case)
        priced = [_times(step, self.prices, one, 1.0) for step in trial.steps]
        missing = trial.seconds - trial.opening - math.fsum(times.total for times in priced)
        return one * max(LEAST, 1 + missing / math.fsum(times.verify for times in priced))

    @property
    def off(self) -> float:
        """How much more the recorded passes cost by the prices than they did."""
        bare, fitted = (math.fsum(map(one, self.cases)) for one in (plain_pass, self.plain))
        return bare / fitted - 1

    @property
    def most(self) -> int:
        """The most nodes that a round drafted."""
        return max((step.drafted for case in self.cases for step in case.trials[self.arm].steps), default=0)

    @property
    def sources(self) -> set[str]:
        return sources_of(step for case in self.cases for step in case.trials[self.arm].steps)


@dataclass(frozen=True)
class Prediction:
    """cases: with the trial that is predicted, as SIMULATED. kinds: of its rounds, how each is known."""

    setting: Setting
    drafting: float
    cases: tuple[Case, ...]
    kinds: tuple[Kind, ...]

    @property
    def speedup(self) -> float:
        return speedup(Figures(self.cases, SIMULATED).pairs)

    def share(self, kind: Kind) -> float:
        """Of the rounds."""
        return self.kinds.count(kind) / len(self.kinds) if self.kinds else 0.0


def recorded(
    cases: Sequence[Case], arm: str, setup: Json, *, costs: Costs | None = None, known: Sequence[str] | None = None
) -> Recorded:
    """An arm made ready. known: arms whose passes tell what rows cost, all of them when not given.

    Raises UsageError as `check` does.
    """
    check(cases, arm, setup)
    steps = [step for case in cases for step in case.trials[arm].steps]
    most = 1 + max((len(step.tree) for step in steps), default=0)
    prices = prices_of(cases, arm, _arms(cases) if known is None else known, max(most, 2), costs)
    return Recorded(arm, tuple(cases), int(setup["max_tokens"]), line_up(arm).fixed, prices)


def check(cases: Sequence[Case], arm: str, setup: Json) -> None:
    """Raises UsageError where the run has no such arm or no cases, or where its texts depend on what was drafted."""
    if not cases:
        raise UsageError("the run has no cases yet: let `foredraft bench` finish at least one prompt")
    arms = _arms(cases)
    if arm not in arms:
        raise UsageError(f"the run has no drafter {arm!r}: choose from {', '.join(arms) or 'none, it has only plain'}")
    if "verifier" in setup and setup["temperature"] > 0:
        raise UsageError(
            f"texts of verifier {setup['verifier']!r} depend on what is drafted, so they cannot be drafted otherwise: "
            "record with `match`, or at temperature 0"
        )
    steps = [step for case in cases for step in case.trials[arm].steps]
    if not all(step.lossless for step in steps):
        raise UsageError(
            f"the texts of {arm} come from a lossy verifier and depend on what was drafted: record with match"
        )
    if any(any(step.tree.probes) for step in steps):
        raise UsageError(f"{arm} scores rows to learn from them, so what it would draft with others is not known")


def replayable(cases: Sequence[Case], setup: Json) -> tuple[list[str], dict[str, str]]:
    """The arms of a run that can be replayed, and why the others cannot."""
    able, unable = [], {}
    for arm in _arms(cases):
        try:
            check(cases, arm, setup)
        except UsageError as error:
            unable[arm] = str(error)
        else:
            able.append(arm)
    return able, unable


def _arms(cases: Sequence[Case]) -> list[str]:
    return [name for case in cases[:1] for name in case.trials if name not in (PLAIN, NONE)]


def simulate(run: Recorded, setting: Setting, drafting: float = 1.0) -> Prediction:
    """What the setting would have brought. drafting: what drafts cost, in what they cost when recorded.

    Raises UsageError for sources that drafted nothing.
    """
    strangers = [name for name in setting.sources if name not in run.sources]
    if strangers:
        drew = ", ".join(sorted(run.sources)) or "nobody"
        raise UsageError(f"{strangers[0]!r} drafted nothing for {run.arm}: choose from {drew}")
    kinds, cases = list[Kind](), list[Case]()
    for case in run.cases:
        trial, known = _predicted(run, case, setting, drafting)
        kinds += known
        cases.append(replace(case, trials={PLAIN: case.trials[PLAIN], SIMULATED: trial}))
    return Prediction(setting, drafting, tuple(cases), tuple(kinds))


def _predicted(run: Recorded, case: Case, setting: Setting, drafting: float) -> tuple[Trial, tuple[Kind, ...]]:
    trial, plain = case.trials[run.arm], run.plain(case)
    steps, kinds = replay(Recording.of(trial.steps, run.cap, run.full), setting)
    times = [_times(step, run.prices, plain, drafting) for step in steps]
    priced = [replace(step, seconds=one, wall=one.total) for step, one in zip(steps, times, strict=True)]
    opening = drafting * trial.opening
    seconds = opening + math.fsum(step.wall for step in priced)
    return Trial(seconds, opening, trial.finish, (), tuple(priced)), kinds


def _times(step: Step, prices: Prices, plain: float, drafting: float) -> Times:
    return prices.times(1 + len(step.tree), step.tree.depth, len(step.tokens), plain, drafting)


# --- synthetic acceptance -------------------------------------------------------------------------------------------


def synthetic_tokens(rates: Sequence[float], length: int) -> float:
    """Tokens a round of a chain of `length` drafts, accepted at depth d with chance rates[d - 1] when those before it
    were; the last rate holds for all that follow. 1 + sum of products (2211.17192, equation 1, for rates that differ).
    """
    tokens, reached = 1.0, 1.0
    for depth in range(length):
        reached *= rates[min(depth, len(rates) - 1)]
        tokens += reached
    return tokens


def synthetic(run: Recorded, rates: Sequence[float], length: int, drafting: float = 1.0) -> float:
    """The speed-up of a drafter that drafts a chain in every round, accepted at these rates, at this one's prices."""
    tokens = synthetic_tokens(rates, length)
    pairs = []
    for case in run.cases:
        plain, opening = case.trials[PLAIN], drafting * case.trials[run.arm].opening
        count = len(plain.tokens)
        times = run.prices.times(1 + length, length, tokens, run.plain(case), drafting)
        pairs.append(Pair(case.task, plain.seconds, count, opening + times.total * count / tokens, count))
    return speedup(pairs)


# --- the result -----------------------------------------------------------------------------------------------------


def prediction_json(found: Prediction) -> Json:
    """A prediction as JSON: the figures of a run of `foredraft bench`, and how its rounds are known."""
    run = run_json(found.cases, SIMULATED)
    return {
        "num_speculative_tokens": found.setting.rows,
        "depth": found.setting.depth,
        "sources": list(found.setting.sources) or None,
        "drafting": found.drafting,
        **{key: run[key] for key in KEPT},
        "by_task": {task: one["speedup"] for task, one in run["by_task"].items()},
        "rounds": {kind: found.share(kind) for kind in KINDS},
    }


def recorded_json(run: Recorded) -> Json:
    """The arm as it was measured, and how far off the prices are of its rounds."""
    measured = run_json(run.cases, run.arm)
    return {
        **{key: measured[key] for key in KEPT},
        "prices_off": run.off,
        "num_speculative_tokens": run.full,
        "passes": {str(rows): run.prices.of_pass(rows) for rows in run.prices.counts},
    }


def assumptions(run: Recorded, predictions: Sequence[Prediction]) -> list[str]:
    """What the predictions rest on, a sentence each."""
    base, slope = run.prices.draft.base * 1e3, run.prices.draft.slope * 1e3
    said = [
        "Texts stay what they are whatever is drafted, which the verifier guarantees; acceptance is read off them.",
        "Passes cost what they did in this run: measured at "
        f"{_numbers(run.prices.counts)} rows, along straight lines between.",
        f"Drafting costs what it did by the depth of the draft ({base:.3f} ms and {slope:.3f} ms a level), times the "
        "factor asked.",
    ]
    moved, stretched = (max((one.share(kind) for one in predictions), default=0.0) for kind in ("moved", "stretched"))
    if moved:
        said.append(
            f"Up to {moved:.0%} of the rounds begin where none did: they draft what was left of the round around them, "
            "where the drafter would have looked again."
        )
    if stretched:
        said.append(
            f"Up to {stretched:.0%} of the rounds want more than was drafted: where all of it was right, the drafter "
            "is taken to have guessed the next token too and to go on with the next round's draft; else the rest is "
            "wrong."
        )
    if run.full is None:
        said.append("A policy cut these drafts: what it left out is not known, and what it would decide is not asked.")
    return said


def _numbers(counts: Sequence[int]) -> str:
    return ", ".join(map(str, counts))
