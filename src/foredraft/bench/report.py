"""From cases to figures: totals, never means of rates; with and without the outputs that loop."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from foredraft.bench.entrants import PLAIN
from foredraft.bench.latency import latency_json
from foredraft.bench.memory import most
from foredraft.bench.record import Case, Json, Trial
from foredraft.bench.statistics import Pair, interval, loops, more_prompts, speedup
from foredraft.engine.compare import first_difference
from foredraft.engine.stats import Stats, by_source_json, forecast_json
from foredraft.engine.stats import stats as stats_of

PRECISE = 0.05  # half of an interval, relative: wider ones need more prompts
PARTS = ("draft", "verify", "sample", "other")


@dataclass(frozen=True)
class Figures:
    """One drafter's figures over some cases, at least one."""

    cases: tuple[Case, ...]
    drafter: str

    @property
    def trials(self) -> list[Trial]:
        return [case.trials[self.drafter] for case in self.cases]

    @property
    def prompts(self) -> int:
        return len({case.prompt for case in self.cases})

    @property
    def pairs(self) -> list[Pair]:
        """One a prompt: its turns are about one thing, so other prompts would bring others of all of them."""
        prompts: dict[str, list[Case]] = {}
        for case in self.cases:
            prompts.setdefault(case.prompt, []).append(case)
        return [_pair(cases, self.drafter) for cases in prompts.values()]

    @property
    def tok_s(self) -> float:
        return speed(self.trials)

    @property
    def stats(self) -> Stats:
        return stats_of(step for trial in self.trials for step in trial.steps)

    def only(self, task: str) -> Figures:
        """The same for one task."""
        return Figures(tuple(case for case in self.cases if case.task == task), self.drafter)


def report(setup: Json, cases: Sequence[Case], drafters: Sequence[str]) -> Json:
    """The result of a benchmark as JSON: the contract's keys, then what else is worth keeping. `cases`: at least one.

    A prompt has a case for each of its turns. setup: what every figure depends on, as the journal keeps it.
    """
    return {
        "model": setup["model"],
        "engine": setup["engine"],
        "suite": setup["suite"],
        "prompts": len({case.prompt for case in cases}),
        "baseline": _baseline(cases),
        "runs": [run_json(cases, drafter) for drafter in drafters],
        "machine": setup["machine"],
        "version": setup["version"],
        "cases": len(cases),
        **{key: value for key, value in setup.items() if key != "drafters"},
    }


def run_json(cases: Sequence[Case], drafter: str) -> Json:
    """One drafter's part of the result."""
    whole, fresh = Figures(tuple(cases), drafter), Figures(without_loops(cases), drafter)
    stats = whole.stats
    faults = [fault for trial in whole.trials for fault in trial.faults]
    different = [case for case in cases if _difference(case, drafter) is not None]
    return {
        "drafter": drafter,
        "lossless": stats.lossless,
        **_speeds(whole),
        "draft_acceptance_rate": stats.draft_acceptance_rate,
        "acceptance_by_position": list(stats.acceptance_by_position),
        "drafted": stats.drafted,
        "accepted": stats.accepted,
        "by_source": by_source_json(stats),
        "forecast": forecast_json(stats.forecast),
        "looping_share": 1 - len(fresh.cases) / len(cases),
        "without_looping": _without(fresh) if fresh.cases else None,
        "identical": not different,
        "first_difference": _difference(different[0], drafter) if different else None,
        "first_different_prompt": different[0].id if different else None,
        "different_prompts": len({case.prompt for case in different}),
        "identity_cases": sum(_tells(case.trials[drafter].stats) for case in cases),
        "by_task": _by_task(whole),
        "time": _time(whole.trials),
        "latency": latency_json(cases, drafter),
        "memory": _memory(whole.trials),
        "faults": len(faults),
        "first_fault": faults[0] if faults else None,
    }


def without_loops(cases: Sequence[Case]) -> tuple[Case, ...]:
    """Those whose plain text does not loop."""
    return tuple(case for case in cases if not loops(case.trials[PLAIN].tokens))


def speed(trials: Sequence[Trial]) -> float:
    """Tokens a second, from totals."""
    return sum(len(trial.tokens) for trial in trials) / math.fsum(trial.seconds for trial in trials)


def half_width(run: Json) -> float | None:
    """Half of a run's interval relative to its speed-up; None where there is none."""
    if run["speedup_ci"] is None:
        return None
    low, high = run["speedup_ci"]
    return float((high - low) / 2 / run["speedup"])


def _baseline(cases: Sequence[Case]) -> Json:
    plain, fresh = ([case.trials[PLAIN] for case in some] for some in (cases, without_loops(cases)))
    return {
        "tok_s": speed(plain),
        "prompt_tok_s": _prompt_speed(cases),
        "without_looping": {"tok_s": speed(fresh)} if fresh else None,
        "latency": latency_json(cases, PLAIN),
        "memory": _memory(plain),
    }


def _speeds(figures: Figures) -> Json:
    """more_prompts: that an interval within PRECISE would take; None where there is no interval."""
    found = interval(figures.pairs)
    speeds: Json = {
        "tok_s": figures.tok_s,
        "speedup": speedup(figures.pairs),
        "speedup_ci": list(found) if found is not None else None,
        "mean_acceptance_length": figures.stats.mean_acceptance_length,
    }
    half = half_width(speeds)
    return speeds | {"more_prompts": more_prompts(figures.prompts, half, PRECISE) if half is not None else None}


def _without(fresh: Figures) -> Json:
    """The same figures of the texts that do not loop."""
    return {
        "prompts": fresh.prompts,
        **_speeds(fresh),
        "draft_acceptance_rate": fresh.stats.draft_acceptance_rate,
        "by_task": _by_task(fresh),
    }


def _by_task(figures: Figures) -> Json:
    tasks = dict.fromkeys(case.task for case in figures.cases)
    return {task: _speeds(own := figures.only(task)) | {"prompts": own.prompts} for task in tasks}


def _memory(trials: Sequence[Trial]) -> Json:
    """Bytes: the largest of all texts. What other arms keep in memory is in it."""
    found = most(trial.memory for trial in trials)
    return {"peak_rss": found.peak, "anonymous": found.anonymous}


def _time(trials: Sequence[Trial]) -> dict[str, float]:
    """Seconds by what they went into; together they are all that was on the clock."""
    split = {
        "draft": math.fsum(trial.opening + trial.stats.seconds.draft for trial in trials),
        "verify": math.fsum(trial.stats.seconds.verify for trial in trials),
        "sample": math.fsum(trial.stats.seconds.sample for trial in trials),
    }
    spent = math.fsum(trial.seconds for trial in trials)
    return split | {"other": max(0.0, spent - math.fsum(split.values()))}


def _prompt_speed(cases: Sequence[Case]) -> float:
    """Tokens of prompts a second; the last token of each is the first round's."""
    seconds = math.fsum(case.prompt_seconds for case in cases)
    return sum(case.prompt_tokens - 1 for case in cases) / seconds if seconds else 0.0


def _pair(cases: Sequence[Case], drafter: str) -> Pair:
    """All turns of one prompt."""
    plain, own = ([case.trials[name] for case in cases] for name in (PLAIN, drafter))
    return Pair(cases[0].task, *_total(plain), *_total(own))


def _total(trials: Sequence[Trial]) -> tuple[float, int]:
    return math.fsum(trial.seconds for trial in trials), sum(len(trial.tokens) for trial in trials)


def _difference(case: Case, drafter: str) -> int | None:
    return first_difference(case.trials[drafter].tokens, case.trials[PLAIN].tokens)


def _tells(stats: Stats) -> bool:
    """Does a case say anything about identity? Only if some drafts were accepted and some rejected."""
    return 0 < stats.accepted < stats.drafted
