"""The result of `foredraft bench` on a terminal: tables, and a summary in words."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from foredraft.bench.entrants import PLAIN
from foredraft.bench.record import Json
from foredraft.bench.report import PARTS
from foredraft.bench.words import summary
from foredraft.cli.show import outlook

COLD = "cold: a drafter knows nothing of other prompts"
WARM = "warm: a drafter goes on with what it learnt from the prompts before"


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
    rows = [_felt(PLAIN, base), *(_felt(run["drafter"], run) for run in result["runs"])]
    feelings = ("what a reader feels", "first text", "95th", "between bursts", "95th", "peak memory", "anonymous")
    _print(console, Table(), feelings, rows)
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


def _felt(arm: str, found: Json) -> list[str]:
    """How long until something shows and between bursts, in ms; what the process then holds, in MB."""
    latency, held = found["latency"], found["memory"]
    waits = [latency[key] or {} for key in ("time_to_first_token", "burst_gap")]
    return [
        arm,
        *(_scaled(wait.get(key), 1e3, "ms") for wait in waits for key in ("median", "p95")),
        *(_scaled(held[key], 1e-6, "MB") for key in ("peak_rss", "anonymous")),
    ]


def _scaled(number: float | None, by: float, unit: str) -> str:
    return f"{number * by:.{1 if by > 1 else 0}f} {unit}" if number is not None else "–"


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
