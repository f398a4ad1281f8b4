"""`foredraft bench`: drafters against plain decoding on a suite of prompts."""

from __future__ import annotations

import json as jsonlib
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import foredraft
from foredraft.bench.entrants import ALL, PLAIN, Entrant, admit
from foredraft.bench.field import Field, field_of
from foredraft.bench.journal import Journal
from foredraft.bench.machine import commit, isa_of, machine, weights_hash
from foredraft.bench.plot import plot_sweep
from foredraft.bench.record import Json
from foredraft.bench.report import PARTS, report
from foredraft.bench.run import Task, prepare, run_cases
from foredraft.bench.suites import Prompt, check_met_once, hash_of, limited, load_suite
from foredraft.bench.sweep import sweep_json
from foredraft.bench.words import promises_identity, summary
from foredraft.cli.progress import counting
from foredraft.cli.show import loading, outlook
from foredraft.core.params import SamplingParams
from foredraft.engine.backends import Loaded, load_model
from foredraft.engine.llm import DEFAULT_VERIFIER
from foredraft.engine.options import Speculation, speculation
from foredraft.policy import check_policy
from foredraft.verify import make_verifier

FORMAT = 2  # of the lines in a folder of --out
COLD = "cold: a drafter knows nothing of other prompts"
WARM = "warm: a drafter goes on with what it learnt from the prompts before"


@dataclass(frozen=True)
class Job:
    """One call of the command, its options as given. arguments: the words it was called with."""

    model: str
    engine: str
    threads: int | None
    drafters: str
    verifier: str
    allow_lossy: bool
    policy: str
    num_speculative_tokens: int | None
    draft_model: str | None
    config: Mapping[str, Any] | None
    suite: str
    limit_per_task: int | None
    max_tokens: int
    temperature: float
    seed: int
    raw: bool
    aa: bool
    warm: bool
    sweep: str | None
    out: str | None
    json: bool
    arguments: tuple[str, ...] = ()

    def run(self) -> int:
        """Measures and prints; returns the exit status: 1 when a drafter failed, or where tokens may not differ."""
        check_policy(self.policy)
        make_verifier(self.verifier, allow_lossy=self.allow_lossy)
        taking_part = field_of(self.drafters, self._said, aa=self.aa, sweep=self.sweep)
        params = SamplingParams(max_tokens=self.max_tokens, temperature=self.temperature, seed=self.seed)
        whole = load_suite(self.suite)
        prompts = limited(whole, self.limit_per_task)
        if self.warm:
            check_met_once(prompts)
        with ExitStack() as stack:
            with loading(self.model) as progress:
                loaded = load_model(self.model, engine=self.engine, threads=self.threads, progress=progress)
                stack.callback(loaded.model.close)
                variants, strict = taking_part.variants, self.drafters != ALL
                entrants, more = admit(
                    loaded,
                    variants,
                    progress,
                    policy=taking_part.policy,
                    verifier=self.verifier,
                    allow_lossy=self.allow_lossy,
                    strict=strict,
                )
            for entrant in entrants:
                stack.callback(entrant.close)
            left_out = {**taking_part.unable, **more}
            for reason in left_out.values():
                print(f"left out: {reason}", file=sys.stderr)
            tasks = prepare(entrants[0].llm, prompts, self.seed, self.raw, self.max_tokens)
            setup = self._setup(loaded, [entrant.name for entrant in entrants[1:]], taking_part.policy, whole)
            result = self._measure(taking_part, entrants, tasks, params, setup)
        if left_out:
            result["left_out"] = left_out
        print(jsonlib.dumps(result, ensure_ascii=False)) if self.json else show(result)
        return _status(result)

    def _said(self, drafter: str) -> Speculation:
        """What the options together make of one of the drafters."""
        return speculation(
            drafter,
            config=self.config,
            num_speculative_tokens=self.num_speculative_tokens,
            draft_model=self.draft_model,
            policy=self.policy,
        )

    def _measure(
        self,
        taking_part: Field,
        entrants: Sequence[Entrant],
        tasks: Sequence[Task],
        params: SamplingParams,
        setup: Json,
    ) -> Json:
        journal = Journal(self.out, setup) if self.out is not None else None
        earlier = journal.done if journal is not None else {}
        done = {task.id: earlier[task.id] for task in tasks if task.id in earlier}
        if done:
            again = " and run once more, untimed, for what they taught" if self.warm and len(done) < len(tasks) else ""
            what = "turns" if any(task.turn for task in tasks) else "prompts"
            print(f"{len(done)} of {len(tasks)} {what} were measured before{again}", file=sys.stderr)

        def keep(found: Json) -> None:
            if journal is not None:
                journal.add(found)

        try:
            with counting("prompts x arms") as each:
                cases = run_cases(entrants, tasks, params, done=done, warm=self.warm, keep=keep, each=each)
        except KeyboardInterrupt:
            if journal is not None:
                print(f"interrupted: run the same command again to go on from {journal.folder}", file=sys.stderr)
            raise
        found = done | {case.id: case for case in cases}
        ordered = [found[task.id] for task in tasks]
        result = report(setup, ordered, [entrant.name for entrant in entrants[1:]])
        result["arguments"] = list(self.arguments)
        if taking_part.sweep is not None:
            here = {entrant.name for entrant in entrants}
            swept = {
                drafter: values
                for drafter, values in taking_part.swept.items()
                if all(variant.name in here for variant in values.values())
            }
            result["sweep"] = sweep_json(taking_part.sweep, swept, ordered)
        if journal is not None:
            journal.finish(result)
            self._plot(result, journal)
        return result

    def _plot(self, result: Json, journal: Journal) -> None:
        if "sweep" in result:
            path = plot_sweep(result["sweep"], f"{result['model']}, suite {result['suite']}", journal.folder)
            print(f"plot: {path}" if path else "no plot: pip install 'foredraft[bench]' brings one", file=sys.stderr)

    def _setup(self, loaded: Loaded, drafters: Sequence[str], policy: str, prompts: Sequence[Prompt]) -> Json:
        """All that a figure depends on: how many prompts are run is of it only where one learns from another."""
        return {
            "model": loaded.source.name,
            "model_sha256": weights_hash(loaded.source),
            "engine": loaded.engine,
            "isa": isa_of(loaded),
            "threads": loaded.threads,
            "row_invariant": loaded.model.about.row_invariant,
            "suite": self.suite,
            "suite_sha256": hash_of(prompts),
            "drafters": list(drafters),
            "policy": policy,
            "max_tokens": self.max_tokens,
            "temperature": self.temperature,
            "seed": self.seed,
            "raw": self.raw,
            "warm": self.warm,
            **({"limit_per_task": self.limit_per_task} if self.warm else {}),
            **({"verifier": self.verifier} if self.verifier != DEFAULT_VERIFIER else {}),
            "machine": machine(),
            "version": foredraft.__version__,
            "commit": commit(),
            "format": FORMAT,
        }


def show(result: Json) -> None:
    """Tables, and a summary in words."""
    from rich.console import Console
    from rich.table import Table

    console = Console(width=None if sys.stdout.isatty() else 140, highlight=False)
    base = result["baseline"]
    where = f"{result['engine']} ({result['isa']}), {result['threads']} thread{'s' if result['threads'] > 1 else ''}"
    turns = f" ({result['cases']} turns)" if result["cases"] > result["prompts"] else ""
    what = f"suite {result['suite']}, {result['prompts']} prompts{turns}, at most {result['max_tokens']} tokens"
    judging = f"verifier {result['verifier']}, " if "verifier" in result else ""
    how = f"{judging}policy {result['policy']}, temperature {result['temperature']:g}"
    console.print(f"{result['model']}: {where}, {how}\n{what}", markup=False)
    console.print(WARM if result["warm"] else COLD, markup=False)
    console.print(f"{PLAIN}: {base['tok_s']:.1f} tok/s, prompts {base['prompt_tok_s']:.0f} tok/s\n", markup=False)
    columns = (
        "drafter",
        "tok/s",
        "speed-up",
        "95% interval",
        "without loops",
        "length",
        "accepted",
        *PARTS,
        "identical",
    )
    _print(console, Table(), columns, [_row(run) for run in result["runs"]])
    tasks = list(result["runs"][0]["by_task"])
    rows = [[run["drafter"], *(_times(run["by_task"][task]["speedup"]) for task in tasks)] for run in result["runs"]]
    _print(console, Table(), ("speed-up by task", *tasks), rows)
    if "sweep" in result:
        _show_sweep(console, Table, result["sweep"])
    for run in result["runs"] if "sweep" not in result else []:
        if run["acceptance_by_position"]:
            rates = ", ".join(f"{rate:.2f}" for rate in run["acceptance_by_position"])
            console.print(f"{run['drafter']}: accepted at position 1, 2, …: {rates}", markup=False)
    sources = [
        _source(run, source) for run in result["runs"] if len(run["by_source"]) > 1 for source in run["by_source"]
    ]
    if sources:
        _print(console, Table(), ("by source", "source", "drafted", "accepted", "rate", "of the time"), sources)
    for run in result["runs"]:
        for line in outlook(run["forecast"]):
            console.print(f"{run['drafter']}: {line}", markup=False)
    console.print()
    for line in summary(result):
        console.print(line, markup=False)


def _print(console: Any, table: Any, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    from rich.text import Text

    for index, column in enumerate(columns):
        table.add_column(Text(column), justify="right" if index else "left", overflow="fold")
    for row in rows:
        table.add_row(*map(Text, row))
    console.print(table)


def _row(run: Json) -> list[str]:
    """length: mean acceptance length. Times are shares of what was on the clock."""
    interval, without = run["speedup_ci"], run["without_looping"]
    spent = sum(run["time"].values()) or 1.0
    return [
        run["drafter"],
        f"{run['tok_s']:.1f}",
        _times(run["speedup"]),
        f"{interval[0]:.2f} – {interval[1]:.2f}" if interval is not None else "–",
        _times(without["speedup"]) if without is not None else "–",
        f"{run['mean_acceptance_length']:.2f}",
        f"{run['draft_acceptance_rate']:.0%}" if run["drafted"] else "–",
        *(f"{run['time'][part] / spent:.1%}" for part in PARTS),
        "yes" if run["identical"] else f"no ({run['different_prompts']})",
    ]


def _show_sweep(console: Any, table: Any, sweep: Json) -> None:
    """A table for each drafter: what was measured by value, and what the formula says."""
    for found in sweep["drafters"]:
        theory = "formula" in found["points"][0]
        columns = [
            f"{found['drafter']}: {sweep['option']}",
            "speed-up",
            "95% interval",
            "length",
            "accepted",
            "drafts in",
        ]
        columns += ["by formula", "with gaps"] if theory else []
        _print(console, table(), columns, [_point(point) for point in found["points"]])


def _point(point: Json) -> list[str]:
    """drafts in: the share of rounds that draft at all, which `with gaps` allows for."""
    interval = point["speedup_ci"]
    return [
        point["value"],
        _times(point["speedup"]),
        f"{interval[0]:.2f} – {interval[1]:.2f}" if interval is not None else "–",
        f"{point['mean_acceptance_length']:.2f}",
        f"{point['draft_acceptance_rate']:.0%}",
        f"{point['drafting_share']:.0%}",
        *(_times(point[key]) for key in ("formula", "formula_with_gaps") if key in point),
    ]


def _source(run: Json, source: str) -> list[str]:
    found, spent = run["by_source"][source], sum(run["time"].values()) or 1.0
    rate = f"{found['accepted'] / found['drafted']:.0%}" if found["drafted"] else "–"
    return [
        run["drafter"],
        source,
        *(str(found[key]) for key in ("drafted", "accepted")),
        rate,
        f"{found['seconds'] / spent:.1%}",
    ]


def _times(factor: float) -> str:
    return f"{factor:.2f}x"


def _status(result: Json) -> int:
    """Faults fail the run, and so do differing tokens where they may not differ."""
    failed = any(run["faults"] for run in result["runs"])
    differ = promises_identity(result) and not all(run["identical"] for run in result["runs"])
    if failed:
        print(
            "foredraft: a drafter failed, so its figures do not count: see first_fault in the result", file=sys.stderr
        )
    if differ:
        print(
            "foredraft: tokens differ from plain decoding on a row-invariant engine: report this bug", file=sys.stderr
        )
    return int(failed or differ)
