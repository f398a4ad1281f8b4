"""`foredraft bench`: drafters against plain decoding on a suite of prompts."""

from __future__ import annotations

import json as jsonlib
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import foredraft
from foredraft.bench.entrants import ALL, Entrant, admit
from foredraft.bench.events import read_costs
from foredraft.bench.field import Field, field_of
from foredraft.bench.journal import Journal
from foredraft.bench.machine import commit, isa_of, machine, weights_hash
from foredraft.bench.plot import plot_sweep
from foredraft.bench.prompts import Prompt
from foredraft.bench.record import Json
from foredraft.bench.report import report
from foredraft.bench.run import Task, fitting, prepare, run_cases
from foredraft.bench.suites import LONG, check_met_once, hash_of, limited, load_suite
from foredraft.bench.sweep import sweep_json
from foredraft.bench.words import promises_identity
from foredraft.cli.bench_show import show
from foredraft.cli.progress import counting
from foredraft.cli.show import loading
from foredraft.core.params import SamplingParams
from foredraft.core.protocols import Costs
from foredraft.engine.backends import Loaded, load_model
from foredraft.engine.costs import costs_of
from foredraft.engine.llm import DEFAULT_VERIFIER
from foredraft.engine.options import Speculation, speculation
from foredraft.policy import check_policy
from foredraft.verify import make_verifier

FORMAT = 2  # of the lines in a folder of --out


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
            too_long: dict[str, str] = {}
            if self.suite == LONG:
                prompts, too_long = fitting(entrants[0].llm, prompts, self.raw, self.max_tokens)
            left_out = {**taking_part.unable, **more, **too_long}
            for reason in left_out.values():
                print(f"left out: {reason}", file=sys.stderr)
            tasks = prepare(entrants[0].llm, prompts, self.seed, self.raw, self.max_tokens)
            setup = self._setup(loaded, [entrant.name for entrant in entrants[1:]], taking_part.policy, whole)
            journal = Journal(self.out, setup) if self.out is not None else None
            costs = _costs(loaded, journal)
            result = self._measure(taking_part, entrants, tasks, params, setup, journal)
        result |= {"costs": {"rows": costs.rows, "seconds": costs.seconds}} | (
            {"left_out": left_out} if left_out else {}
        )
        if journal is not None:
            journal.finish(result)
            self._plot(result, journal)
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
        journal: Journal | None,
    ) -> Json:
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


def _costs(loaded: Loaded, journal: Journal | None) -> Costs:
    """What passes cost here; of a run that goes on, what they cost when it began."""
    kept = read_costs(journal.folder) if journal is not None else None
    costs = kept if kept is not None else costs_of(loaded)
    if journal is not None:
        journal.keep_costs(costs)
    return costs


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
