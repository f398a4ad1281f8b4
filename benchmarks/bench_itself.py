"""Whether the benchmark can be believed: what it costs beside what it measures, and whether it says the same twice.

    bench_itself.py overhead [-m MODEL] [--drafters a,b,…] [--limit-per-task N] [--max-tokens N] [--out FILE]
    bench_itself.py agree DIR DIR
    bench_itself.py coverage [--spread S] [--experiments N]

overhead: a benchmark with everything on (journal, memory, bar), and of its wall time what was neither scoring a prompt
nor generating, in generation time. The first prompt is left out: it comes with the warm-up. Drafters that want the
prompt's hidden states score it again, which is no bookkeeping: leave them out here.

agree: two runs of one comparison, folders of `foredraft bench --out`. The figures must differ by no more than the
interval of their difference allows, which is as wide as the root of both intervals' squares; were each to lie in the
other's, one pair in six would disagree that measures the same.

coverage: benchmarks of six tasks drawn by chance, whose true speed-up is known: in what share of them it lies in the
interval that should hold it in 95%. --spread: of a prompt's speed-up, as the deviation of its logarithm.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

import foredraft
from foredraft.bench.entrants import admit, listed
from foredraft.bench.events import Events, read
from foredraft.bench.journal import Journal
from foredraft.bench.machine import commit, isa_of, machine
from foredraft.bench.record import case_of
from foredraft.bench.report import report
from foredraft.bench.run import prepare, run_cases
from foredraft.bench.statistics import Pair, interval
from foredraft.bench.suites import limited, load_suite
from foredraft.cli.progress import counting
from foredraft.core.params import SamplingParams
from foredraft.engine.backends import load_model

ALLOWED = 0.01  # of generation time
TASKS, A_TASK = 6, (2, 3, 5, 10, 20)


def overhead(model: str, drafters: str, per_task: int | None, max_tokens: int) -> dict[str, Any]:
    """The share of its own work, and what it is made from."""
    loaded = load_model(model)
    entrants, _ = admit(loaded, listed(drafters))
    try:
        tasks = prepare(entrants[0].llm, limited(load_suite("builtin"), per_task), 0, False, max_tokens)
        lines: list[dict[str, Any]] = []
        ends: list[float] = []
        with tempfile.TemporaryDirectory() as folder, counting("prompts x arms") as each:
            journal = Journal(Path(folder) / "run", {"drafters": listed(drafters)})

            def keep(found: dict[str, Any]) -> None:
                journal.add(found)
                lines.append(found)
                ends.append(time.perf_counter())

            run_cases(entrants, tasks, SamplingParams(max_tokens=max_tokens, temperature=0.0), keep=keep, each=each)
        cases = [case_of(line) for line in lines[1:]]
        generating = sum(trial.seconds for case in cases for trial in case.trials.values())
        scoring = sum(case.prompt_seconds for case in cases)
        own = ends[-1] - ends[0] - generating - scoring
        return {
            "overhead": own / generating,
            "own_seconds": own,
            "generation_seconds": generating,
            "prompt_seconds": scoring,
            "prompts": len(cases),
            "model": model,
            "drafters": drafters,
            "max_tokens": max_tokens,
            "engine": loaded.engine,
            "isa": isa_of(loaded),
            "threads": loaded.threads,
            "machine": machine(),
            "version": foredraft.__version__,
            "commit": commit(),
        }
    finally:
        for entrant in entrants:
            entrant.close()
        loaded.model.close()


def agreement(first: Events, second: Events) -> list[dict[str, Any]]:
    """For each drafter both figures with their intervals, and whether these allow that they are the same."""
    results = [report(run.setup, run.cases, run.drafters)["runs"] for run in (first, second)]
    found = []
    for one, other in zip(*results, strict=True):
        if one["drafter"] != other["drafter"]:
            raise SystemExit(f"the runs compare other drafters: {one['drafter']} and {other['drafter']}")
        halves = [
            math.log(run["speedup_ci"][1] / run["speedup"]) for run in (one, other) if run["speedup_ci"] is not None
        ]
        apart = abs(math.log(one["speedup"] / other["speedup"]))
        inside = len(halves) == 2 and apart <= math.hypot(*halves)
        pairs = [{key: run[key] for key in ("speedup", "speedup_ci")} for run in (one, other)]
        found.append({"drafter": one["drafter"], "first": pairs[0], "second": pairs[1], "agree": inside})
    return found


def coverage(a_task: int, spread: float, experiments: int) -> float:
    """In what share of the experiments the interval of `a_task` prompts of every task holds the true speed-up.

    Plain decoding takes a second for every prompt and a drafter 1 / s, s log-normal about a median of its task: then
    the true speed-up of a task, of totals over all prompts there are, is 1 / E[1 / s] = median exp(-spread^2 / 2).
    """
    medians = [1.0 + 0.2 * task for task in range(TASKS)]
    truth = math.exp(math.fsum(map(math.log, medians)) / TASKS - spread**2 / 2)
    held = 0
    for experiment in range(experiments):
        draw = np.random.default_rng(experiment)
        pairs = [
            Pair(str(task), 1.0, 1, float(own), 1)
            for task, median in enumerate(medians)
            for own in np.exp(draw.normal(0.0, spread, a_task)) / median
        ]
        found = interval(pairs, draws=500, seed=experiment)
        held += found is not None and found[0] <= truth <= found[1]
    return held / experiments


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="What the benchmark costs, and whether two runs say the same.")
    commands = parser.add_subparsers(dest="command", required=True)
    costs = commands.add_parser("overhead")
    costs.add_argument("-m", "--model", default="smollm2")
    costs.add_argument("--drafters", default="lookup,suffix,none")
    costs.add_argument("--limit-per-task", type=int)
    costs.add_argument("--max-tokens", type=int, default=128)
    costs.add_argument("--out", type=Path)
    agree = commands.add_parser("agree")
    agree.add_argument("folders", type=Path, nargs=2)
    covers = commands.add_parser("coverage")
    covers.add_argument("--spread", type=float, default=0.3)
    covers.add_argument("--experiments", type=int, default=1000)
    options = parser.parse_args(arguments)
    if options.command == "coverage":
        found = {a_task: coverage(a_task, options.spread, options.experiments) for a_task in A_TASK}
        print(json.dumps({"spread": options.spread, "experiments": options.experiments, "held": found}))
        return 0
    if options.command == "agree":
        same = agreement(*map(read, options.folders))
        print("\n".join(map(json.dumps, same)))
        return 0 if all(one["agree"] for one in same) else 1
    cost = overhead(options.model, options.drafters, options.limit_per_task, options.max_tokens)
    if options.out is not None:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(cost) + "\n", encoding="utf-8")
    print(json.dumps(cost))
    return 0 if cost["overhead"] <= ALLOWED else 1


if __name__ == "__main__":
    sys.exit(main())
