"""The tables of docs/decision_guide.md, made from the raw steps of the benchmark runs that docs/measured.md shows.

    guide.py [--results FOLDER] [--page FILE.md] [--check]

`tasks`: for every run and task the drafter that was fastest, and `auto` beside it. `drafters`: for every drafter its
worst and its best task. Figures without the outputs that loop stand beside them. --check changes nothing and fails
where the page differs.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cells import head, line, short
from tables import filled

from foredraft.bench.entrants import NONE, PLAIN
from foredraft.bench.events import read
from foredraft.bench.record import Case, Json
from foredraft.bench.report import Figures, without_loops
from foredraft.bench.statistics import speedup, speedups

HERE = Path(__file__).parent
AUTO = "auto"


@dataclass(frozen=True)
class Run:
    """One folder of results. name: as the page calls it."""

    folder: str
    setup: Json
    cases: tuple[Case, ...]

    @property
    def name(self) -> str:
        return f"`{self.folder}`, T = {self.setup['temperature']:g}"

    @property
    def drafters(self) -> list[str]:
        return [name for name in self.cases[0].trials if name not in (PLAIN, NONE)]

    @property
    def tasks(self) -> list[str]:
        return list(dict.fromkeys(case.task for case in self.cases))

    @property
    def fresh(self) -> tuple[Case, ...]:
        """The cases whose output does not loop."""
        return without_loops(self.cases)

    def by_task(self, drafter: str) -> dict[str, tuple[float, str]]:
        """task -> the speed-up, and as it is written: in brackets without the outputs that loop, where it differs."""
        whole, fresh = (speedups(Figures(cases, drafter).pairs) for cases in (self.cases, self.fresh))
        return {task: (found, _both(found, fresh.get(task))) for task, found in whole.items()}


def tasks_table(runs: Sequence[Run]) -> str:
    """A row for each run of the suite that most are of: by task, the fastest drafter, then `auto` if it took part."""
    ((tasks, _),) = Counter(tuple(run.tasks) for run in runs).most_common(1)
    lines = head(["run", *(task.replace("_", " ") for task in tasks)])
    for run in runs:
        if set(run.tasks) != set(tasks):
            continue
        found = {drafter: run.by_task(drafter) for drafter in run.drafters}
        lines.append(line([run.name, *(_cell(found, task) for task in tasks)]))
    return "\n".join([*lines, ""])


def _cell(found: dict[str, dict[str, tuple[float, str]]], task: str) -> str:
    here = {drafter: by_task[task] for drafter, by_task in found.items()}
    best = max(here, key=here.__getitem__)
    speed, figures = here[best]
    cell = f"`{short(best)}` {figures}" if speed > 1 else f"none gains: `{short(best)}` {figures}"
    return cell if AUTO not in here or best == AUTO else f"{cell}; auto {here[AUTO][1]}"


def drafters_table(runs: Sequence[Run]) -> str:
    """A row for each drafter and run, best mean first within a run."""
    lines = head(["run", "drafter", "mean", "without loops", "worst task", "best task", "tokens a round", "drafting"])
    for run in runs:
        pairs = {drafter: Figures(run.cases, drafter).pairs for drafter in run.drafters}
        for drafter in sorted(run.drafters, key=lambda name: -speedup(pairs[name])):
            lines.append(line(_row(run, drafter)))
    return "\n".join([*lines, ""])


def _row(run: Run, drafter: str) -> list[str]:
    figures, by_task = Figures(run.cases, drafter), run.by_task(drafter)
    worst, best = min(by_task, key=by_task.__getitem__), max(by_task, key=by_task.__getitem__)
    fresh = Figures(run.fresh, drafter)
    drafting = sum(trial.opening + trial.stats.seconds.draft for trial in figures.trials)
    return [
        run.name,
        f"`{short(drafter)}`",
        f"{speedup(figures.pairs):.2f}",
        _figure(speedup(fresh.pairs) if fresh.cases else None),
        f"{worst.replace('_', ' ')} {by_task[worst][1]}",
        f"{best.replace('_', ' ')} {by_task[best][1]}",
        f"{figures.stats.mean_acceptance_length:.2f}",
        f"{drafting / sum(trial.seconds for trial in figures.trials):.0%}",
    ]


def _figure(found: float | None) -> str:
    return f"{found:.2f}" if found is not None else "–"


def _both(whole: float, fresh: float | None) -> str:
    one, other = _figure(whole), _figure(fresh)
    return one if one == other else f"{one} ({other})"


def main() -> None:
    parser = argparse.ArgumentParser(description="Makes the tables of docs/decision_guide.md from raw steps.")
    parser.add_argument("--results", type=Path, default=HERE / "results" / "bench")
    parser.add_argument("--page", type=Path, default=HERE.parent / "docs" / "decision_guide.md")
    parser.add_argument("--check", action="store_true", help="fail where the page differs, and change nothing")
    options = parser.parse_args()
    folders = [folder for folder in sorted(options.results.iterdir()) if folder.is_dir()]
    runs = [Run(events.folder.name, events.setup, events.cases) for events in map(read, folders)]
    page = options.page.read_text(encoding="utf-8")
    made = filled(page, {"tasks": tasks_table(runs), "drafters": drafters_table(runs)})
    if options.check and made != page:
        raise SystemExit(f"{options.page} is not what the raw steps say: run `make tables`")
    options.page.write_text(made, encoding="utf-8")
    print(f"{len(runs)} runs in {options.page}", file=sys.stderr)


if __name__ == "__main__":
    main()
