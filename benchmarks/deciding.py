"""Where the time of rounds went, arm by arm, in a folder that `foredraft bench --out` wrote.

    deciding.py FOLDER [--task TASK]

Prints a line of JSON an arm: rounds, tokens and rows a round, and microseconds a round: of all; of passes; of sources,
whom to ask included, and what it takes to check and join what they drafted, and to tell them what came; of the rest of
drafting (looking at the tree and cutting it); of choosing tokens; of reading the prompt; and of all beside, in which
the policy learns. Between an arm whose length a policy chooses and one whose never changes, with the same sources,
sources, the rest of drafting and what is beside differ by what deciding takes.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from foredraft.bench.events import read
from foredraft.bench.record import Trial


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


def main() -> None:
    parser = argparse.ArgumentParser(description="Where the time of rounds went, arm by arm.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--task")
    options = parser.parse_args()
    run = read(options.folder)
    cases = [case for case in run.cases if options.task in (None, case.task)]
    for arm in ("plain", *run.drafters):
        print(json.dumps({"arm": arm, **parts([case.trials[arm] for case in cases])}))


if __name__ == "__main__":
    main()
