"""The tables of docs/measured.md, made from the raw steps of benchmark runs.

    tables.py [--results FOLDER] [--peers FOLDER] [--page FILE.md] [--check]

Every folder under --results is one run of `foredraft bench --out FOLDER`, every folder under --peers one of
compare_peers.py. The page holds, for the run `NAME`, a pair of lines `<!-- table NAME -->` and `<!-- end -->`, for the
comparison `NAME` the same with `peers-NAME`; what stands between is replaced by the table of that run. Tables that are
made of several runs, or are another view of one, are those of `methods.py` and `reached.py`. A run without a place on
the page, and a place without a run, are errors. --check changes nothing and fails where the page differs.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Sequence
from pathlib import Path

import methods
import numpy as np
import reached
import records
from cells import head, line
from peers.table import table as peers

from foredraft.bench.entrants import PLAIN
from foredraft.bench.events import read
from foredraft.bench.record import Case, Json
from foredraft.bench.report import report

HERE = Path(__file__).parent
PLACE = re.compile(r"(<!-- table (?P<name>[\w.-]+) -->\n)(?P<table>.*?)(<!-- end -->)", re.DOTALL)


def table(setup: Json, cases: Sequence[Case]) -> str:
    """One row a drafter: speed-up (mean acceptance length) by task, then over all, and what puts it in proportion."""
    drafters = [name for name in cases[0].trials if name != PLAIN]
    runs = {run["drafter"]: run for run in report(setup, cases, drafters)["runs"]}
    tasks = list(dict.fromkeys(case.task for case in cases))
    heads = [
        "",
        *(task.replace("_", " ") for task in tasks),
        "mean (95%)",
        "without loops",
        "p5",
        "drafting",
        "identical",
    ]
    lines = head(heads)
    for drafter in drafters:
        run = runs[drafter]
        by_task = [run["by_task"][task] for task in tasks]
        lines.append(
            line(
                [
                    f"`{drafter}`",
                    *(f"{one['speedup']:.2f} ({one['mean_acceptance_length']:.2f})" for one in by_task),
                    _mean(run),
                    f"{run['without_looping']['speedup']:.2f}" if run["without_looping"] else "–",
                    f"{fifth(cases, drafter):.2f}",
                    f"{run['time']['draft'] / sum(run['time'].values()):.1%}",
                    "yes" if run["identical"] else f"no, {run['different_prompts']} differ",
                ]
            )
        )
    return "\n".join([*lines, "", _caption(setup, cases)]) + "\n"


def fifth(cases: Sequence[Case], drafter: str) -> float:
    """The 5th percentile over generations of plain seconds / own seconds."""
    ratios = [case.trials[PLAIN].seconds / case.trials[drafter].seconds for case in cases]
    return float(np.quantile(ratios, 0.05))


def _mean(run: Json) -> str:
    interval = run["speedup_ci"]
    return f"**{run['speedup']:.2f}**" + (f" ({interval[0]:.2f} – {interval[1]:.2f})" if interval else "")


def _caption(setup: Json, cases: Sequence[Case]) -> str:
    plain = [case.trials[PLAIN] for case in cases]
    speed = sum(len(trial.tokens) for trial in plain) / sum(trial.seconds for trial in plain)
    machine = setup["machine"]
    return (
        f"{Path(setup['model']).name}, {setup['engine']} ({setup['isa']}), {setup['threads']} threads of "
        f"{machine['processor']}; {len(cases)} generations of at most {setup['max_tokens']} tokens, temperature "
        f"{setup['temperature']:g}, policy {setup.get('policy', 'constant')}, "
        f"{'warm' if setup.get('warm') else 'cold'}; plain: {speed:.1f} tokens a second."
    )


def filled(page: str, tables: dict[str, str]) -> str:
    """The page with its tables replaced. Raises SystemExit where places and runs are not the same."""
    places = {match["name"] for match in PLACE.finditer(page)}
    for name in sorted(tables.keys() ^ places):
        raise SystemExit(
            f"{name}: a run without a place on the page" if name in tables else f"{name}: there is no such run"
        )
    return PLACE.sub(lambda match: match[1] + tables[match["name"]] + match[4], page)


def main() -> None:
    parser = argparse.ArgumentParser(description="Makes the tables of docs/measured.md from raw steps.")
    parser.add_argument("--results", type=Path, default=HERE / "results" / "bench")
    parser.add_argument("--peers", type=Path, default=HERE / "results" / "peers")
    parser.add_argument("--page", type=Path, default=HERE.parent / "docs" / "measured.md")
    parser.add_argument("--check", action="store_true", help="fail where the page differs, and change nothing")
    options = parser.parse_args()
    runs = {folder.name: read(folder) for folder in sorted(options.results.iterdir()) if folder.is_dir()}
    others = {path.parent.name: records.read(path) for path in options.peers.glob("*/figures.jsonl")}
    tables = {name: table(run.setup, run.cases) for name, run in runs.items()}
    tables |= {f"peers-{name}": peers(*found) for name, found in others.items()}
    tables |= methods.tables(runs) | reached.tables(runs, {name: found for name, (_, found) in others.items()})
    page = options.page.read_text(encoding="utf-8")
    made = filled(page, tables)
    if options.check and made != page:
        raise SystemExit(f"{options.page} is not what the raw steps say: run `make tables`")
    options.page.write_text(made, encoding="utf-8")
    print(f"{len(tables)} tables in {options.page}", file=sys.stderr)


if __name__ == "__main__":
    main()
