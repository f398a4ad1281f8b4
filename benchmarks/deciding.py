"""Where the time of rounds went, arm by arm, in a folder that `foredraft bench --out` wrote.

    deciding.py FOLDER [--task TASK] [--source NAME]

Prints a line of JSON an arm: rounds, tokens and rows a round, and microseconds a round: of all; of passes; of sources,
whom to ask included, and what it takes to check and join what they drafted, and to tell them what came; of the rest of
drafting (looking at the tree and cutting it); of choosing tokens; of reading the prompt; and of all beside, in which
the policy learns. Between an arm whose length a policy chooses and one whose never changes, with the same sources,
sources, the rest of drafting and what is beside differ by what deciding takes.

Then what drafting takes a round beside a pass of plain decoding of the same run, t(1): that of the sources alone, of
all drafting, which is them and the rest of it, and of all that plain decoding's rounds have little of: with the prompt
and what is beside. Of --source NAME what one look of it takes, in the rounds in which something that it drafted was
scored: of a head with one pass a draft step, and by the level that it drafted in the mean one of a head that takes a
pass a level.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from foredraft.bench.entrants import PLAIN
from foredraft.bench.events import read
from foredraft.bench.record import Trial
from foredraft.core.events import Step


def parts(trials: Sequence[Trial]) -> dict[str, Any]:
    """Microseconds a round of some trials."""
    steps = [step for trial in trials for step in trial.steps]
    rounds = len(steps)

    def mean(seconds: float) -> int:
        return round(1e6 * seconds / rounds)

    every = math.fsum(trial.seconds for trial in trials)
    reading = math.fsum(trial.opening for trial in trials)
    drafting, passes, choosing = (
        math.fsum(getattr(step.seconds, part) for step in steps) for part in ("draft", "verify", "sample")
    )
    sources = math.fsum(seconds for step in steps for _, seconds in step.spent)
    return {
        "rounds": rounds,
        "tokens": round(sum(len(step.tokens) for step in steps) / rounds, 2),
        "rows": round(sum(step.rows for step in steps) / rounds, 2),
        "all": mean(every),
        "passes": mean(passes),
        "sources": mean(sources),
        "rest of drafting": mean(max(0.0, drafting - sources)),
        "choosing": mean(choosing),
        "prompt": mean(reading),
        "beside": mean(every - reading - drafting - passes - choosing),
    }


def ratios(found: Mapping[str, Any], plain: Mapping[str, Any]) -> dict[str, float]:
    """By a pass of plain decoding, t(1): sources, all drafting, and with the prompt and what is beside, a round.

    Both as `parts` has them.
    """
    one = plain["passes"]
    drafting = found["sources"] + found["rest of drafting"]
    return {
        "sources / t(1)": round(found["sources"] / one, 3),
        "drafting / t(1)": round(drafting / one, 3),
        "all / t(1)": round((drafting + found["prompt"] + found["beside"]) / one, 3),
    }


def step(trials: Sequence[Trial], source: str, plain: Mapping[str, Any]) -> dict[str, float]:
    """What a look of one source takes, of the rounds in which something that it drafted was scored: their share,
    seconds by t(1), how deep it drafted in the mean, and seconds a level by t(1). There is one such round at least.
    """
    steps = [step for trial in trials for step in trial.steps]
    looks = [(dict(step.spent).get(source, 0.0), depth) for step in steps if (depth := depth_of(step, source))]
    seconds = math.fsum(spent for spent, _ in looks) / len(looks)
    mean = sum(depth for _, depth in looks) / len(looks)
    share = 1e6 * seconds / plain["passes"]
    return {
        "drafted": round(len(looks) / len(steps), 3),
        "look / t(1)": round(share, 3),
        "depth": round(mean, 2),
        "level / t(1)": round(share / mean, 3),
    }


def depth_of(step: Step, source: str) -> int:
    """The deepest node that a source drafted; 0 where it drafted none."""
    nodes = zip(step.tree.depths, step.tree.sources, step.tree.probes, strict=True)
    return max((depth for depth, names, probe in nodes if source in names.split("+") and not probe), default=0)


def main() -> None:
    parser = argparse.ArgumentParser(description="Where the time of rounds went, arm by arm.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--task")
    parser.add_argument("--source", default="", help="what a look of this source takes, too")
    options = parser.parse_args()
    run = read(options.folder)
    cases = [case for case in run.cases if options.task in (None, case.task)]
    plain = parts([case.trials[PLAIN] for case in cases])
    for arm in (PLAIN, *run.drafters):
        trials = [case.trials[arm] for case in cases]
        found = parts(trials)
        line = {"arm": arm, **found, **ratios(found, plain)}
        if any(depth_of(one, options.source) for trial in trials for one in trial.steps):
            line |= step(trials, options.source, plain)
        print(json.dumps(line))


if __name__ == "__main__":
    main()
