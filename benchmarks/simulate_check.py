"""Is `foredraft simulate` right? Settings predicted from one recording, beside the same settings really run.

    simulate_check.py run [-m MODEL] [--threads N] [--suite FILE] [--per-task N] [--max-tokens N] [--out FOLDER]
    simulate_check.py page [--check]

`run` decodes every prompt plainly, with the recorded settings and with those to be predicted, in turn; the same command
goes on where it was. `page` predicts from the recorded arms alone (the passes of the others are not looked at), holds
that against what was measured, writes the table of docs/simulate.md from the raw steps in benchmarks/results/simulate,
and fails where a setting that MUST holds is off by more than LIMIT. --check changes nothing and fails where the page
differs.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tables import filled

import foredraft
from foredraft.bench.entrants import PLAIN, Variant, admit
from foredraft.bench.events import read
from foredraft.bench.journal import Journal
from foredraft.bench.machine import isa_of, machine, weights_hash
from foredraft.bench.record import Case, Json
from foredraft.bench.replay import Setting
from foredraft.bench.report import run_json, speed
from foredraft.bench.run import prepare, run_cases
from foredraft.bench.simulate import Recorded, prediction_json, recorded, simulate
from foredraft.bench.suites import hash_of, limited, load_suite
from foredraft.core.params import SamplingParams
from foredraft.core.protocols import Costs
from foredraft.engine.backends import load_model
from foredraft.engine.costs import costs_of

RESULTS = Path(__file__).parent / "results" / "simulate"
PAGE = Path(__file__).parent.parent / "docs" / "simulate.md"
LIMIT = 0.10
RECORDED = 16  # tokens a round
# Drafter -> lengths to predict. Those that look at the text alone are within LIMIT; of the others it is only told.
MUST = {"lookup": (2, 4, 8), "suffix": (2, 4, 8)}
TOLD = {"recycling": (4, 8), "block": (2, 4)}
TRIED = {**MUST, **TOLD}


@dataclass(frozen=True)
class Check:
    """One setting, as predicted and as measured."""

    drafter: str
    length: int
    predicted: Json
    measured: Json

    @property
    def off(self) -> float:
        return float(self.predicted["speedup"] / self.measured["speedup"] - 1)

    @property
    def fine(self) -> bool:
        return self.drafter not in MUST or abs(self.off) <= LIMIT


def name_of(drafter: str, length: int) -> str:
    return Variant.of(drafter, length).name


def checks(setup: Json, cases: Sequence[Case], costs: Costs | None = None) -> list[Check]:
    """Every setting that was run, predicted from the recorded arm of its drafter."""
    known = [name_of(drafter, RECORDED) for drafter in TRIED]
    found = []
    for drafter, lengths in TRIED.items():
        run: Recorded = recorded(cases, name_of(drafter, RECORDED), setup, costs=costs, known=known)
        for length in lengths:
            prediction = prediction_json(simulate(run, Setting(length)))
            found.append(Check(drafter, length, prediction, run_json(cases, name_of(drafter, length))))
    return found


def table(setup: Json, cases: Sequence[Case], costs: Costs | None = None) -> str:
    """One row a setting."""
    lines = [
        "| drafter | tokens a round | predicted | measured (95%) | off | length predicted | measured | exact rounds |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for one in checks(setup, cases, costs):
        low, high = one.measured["speedup_ci"]
        cells = [
            f"`{one.drafter}`",
            str(one.length),
            f"{one.predicted['speedup']:.2f}",
            f"{one.measured['speedup']:.2f} ({low:.2f} – {high:.2f})",
            f"{one.off:+.1%}",
            f"{one.predicted['mean_acceptance_length']:.2f}",
            f"{one.measured['mean_acceptance_length']:.2f}",
            f"{one.predicted['rounds']['recorded']:.0%}",
        ]
        lines.append("| " + " | ".join(cells) + " |")
    plain = speed([case.trials[PLAIN] for case in cases])
    threads = f"{setup['threads']} thread{'s' if setup['threads'] > 1 else ''}"
    caption = (
        f"{Path(setup['model']).name}, {setup['engine']} ({setup['isa']}), {threads} of "
        f"{setup['machine']['processor']}; {len(cases)} prompts of suite {setup['suite']}, at most "
        f"{setup['max_tokens']} tokens, temperature 0; plain: {plain:.1f} tokens a second. "
        f"Recorded at {RECORDED} tokens a round."
    )
    return "\n".join([*lines, "", caption, ""])


def run(options: argparse.Namespace) -> None:
    """Measures all arms, prompt by prompt."""
    prompts = limited(load_suite(options.suite), options.per_task)
    loaded = load_model(options.model, threads=options.threads)
    variants = [Variant.of(drafter, size) for drafter, sizes in TRIED.items() for size in (RECORDED, *sizes)]
    entrants, _ = admit(loaded, variants)
    setup = {
        "model": loaded.source.name,
        "model_sha256": weights_hash(loaded.source),
        "engine": loaded.engine,
        "isa": isa_of(loaded),
        "threads": loaded.threads,
        "suite": Path(options.suite).name,
        "suite_sha256": hash_of(prompts),
        "drafters": [entrant.name for entrant in entrants[1:]],
        "policy": "constant",
        "max_tokens": options.max_tokens,
        "temperature": 0.0,
        "seed": 0,
        "raw": False,
        "warm": False,
        "machine": machine(),
        "version": foredraft.__version__,
    }
    journal = Journal(options.out or RESULTS / loaded.source.name, setup)
    journal.keep_costs(costs_of(loaded))
    tasks = prepare(entrants[0].llm, prompts, 0, False, options.max_tokens)
    params = SamplingParams(max_tokens=options.max_tokens)
    run_cases(
        entrants,
        tasks,
        params,
        done=journal.done,
        keep=journal.add,
        each=lambda done, total: print(f"{done} of {total}", file=sys.stderr) if done % len(entrants) == 0 else None,
    )


def page(check: bool) -> None:
    """Writes the tables, or compares them with the page. Raises SystemExit where a prediction is too far off."""
    folders = [read(folder) for folder in sorted(RESULTS.iterdir()) if folder.is_dir()]
    runs = {events.folder.name: (events.setup, events.cases, events.costs) for events in folders}
    text = PAGE.read_text(encoding="utf-8")
    made = filled(text, {name: table(*found) for name, found in runs.items()})
    far = [one for found in runs.values() for one in checks(*found) if not one.fine]
    for one in far:
        print(f"{one.drafter} at {one.length}: off by {one.off:+.1%}", file=sys.stderr)
    if check and made != text:
        raise SystemExit(f"{PAGE} is not what the raw steps say: run benchmarks/simulate_check.py page")
    PAGE.write_text(made, encoding="utf-8")
    if far:
        raise SystemExit(f"{len(far)} predictions are off by more than {LIMIT:.0%}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    running = commands.add_parser("run", help="measure all settings")
    running.add_argument("-m", "--model", default="smollm2")
    running.add_argument("--threads", type=int)
    running.add_argument("--suite", default="builtin")
    running.add_argument("--per-task", type=int, default=4)
    running.add_argument("--max-tokens", type=int, default=96)
    running.add_argument("--out", type=Path)
    commands.add_parser("page", help="the table of docs/simulate.md").add_argument("--check", action="store_true")
    options = parser.parse_args()
    if options.command == "run":
        run(options)
    else:
        page(options.check)


if __name__ == "__main__":
    main()
