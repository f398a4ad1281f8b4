"""`foredraft cost`: what a pass of more rows costs on this machine, and how near to memory speed plain decoding is."""

from __future__ import annotations

import json as jsonlib
from dataclasses import dataclass
from typing import Any

from foredraft.bench.machine import isa_of
from foredraft.bench.suites import BUILTIN
from foredraft.cli.explain import Trying, explain, explanation_json, explanation_text
from foredraft.cli.progress import counting
from foredraft.cli.show import loading
from foredraft.core.errors import UsageError
from foredraft.draft import line_up
from foredraft.engine.backends import Loaded, load_model
from foredraft.engine.llm import DEFAULT_DRAFTER
from foredraft.engine.measure import NEARLY_FREE, PASSES, SHAPES, Cost, Shape, measure_cost
from foredraft.models.facts import facts

QUICK = 5  # passes
PROMPTS, MAX_TOKENS = 3, 64  # of the run that --explain makes


@dataclass(frozen=True)
class Job:
    """One call of the command, its options as given. passes: None for as many as figures to publish need. trying: a
    drafter to explain what limits it, where that is asked.
    """

    model: str
    engine: str
    threads: int | None
    rows: str
    context: int
    passes: int | None
    shape: str
    quick: bool
    json: bool
    trying: Trying | None = None

    def run(self) -> int:
        """Measures and prints; returns the exit status."""
        rows, shapes = _rows(self.rows), _shapes(self.shape)
        if self.passes is not None and self.quick:
            raise UsageError("--quick is a number of passes too: give it or --passes, not both")
        if self.trying is not None:
            if rows[-1] == 1:
                raise UsageError("--explain asks what more rows cost: give --rows that go beyond 1, such as 1,2,4,8,16")
            self.trying.chosen()
            line_up(self.trying.drafter)
        passes = self.passes if self.passes is not None else QUICK if self.quick else PASSES
        with loading(self.model) as progress:
            loaded = load_model(self.model, engine=self.engine, threads=self.threads, progress=progress)
        try:
            weight_bytes = facts(loaded.source).bytes_per_token
            with counting("measuring") as each:
                cost = measure_cost(
                    loaded.model,
                    weight_bytes,
                    rows,
                    threads=loaded.threads,
                    context=self.context,
                    passes=passes,
                    shapes=shapes,
                    each=each,
                )
            explained = explain(loaded, cost, self.trying) if self.trying is not None else None
        finally:
            loaded.model.close()
        if self.json:
            more = {"explain": explanation_json(explained)} if explained is not None else {}
            print(jsonlib.dumps(_as_json(loaded, cost, passes) | more))
        else:
            page = ["", *explanation_text(explained)] if explained is not None else []
            print("\n".join([*_as_text(loaded, cost), *page]))
        return 0


def trying_of(
    explain: bool, drafter: str | None, suite: str | None, prompts: int | None, max_tokens: int | None
) -> Trying | None:
    """What is to be tried. Raises UsageError where that is said and no explanation is asked for."""
    said = {"--drafter": drafter, "--suite": suite, "--prompts": prompts, "--max-tokens": max_tokens}
    if not explain:
        for option, value in said.items():
            if value is not None:
                raise UsageError(f"{option} is for the run that --explain makes: add --explain, or leave it out")
        return None
    return Trying(
        drafter if drafter is not None else DEFAULT_DRAFTER,
        suite if suite is not None else BUILTIN,
        prompts if prompts is not None else PROMPTS,
        max_tokens if max_tokens is not None else MAX_TOKENS,
    )


def _rows(text: str) -> list[int]:
    items = [item.strip() for item in text.split(",")]
    if not all(item.isascii() and item.isdecimal() and int(item) for item in items):
        raise UsageError(f"--rows takes numbers from 1 such as 1,2,4,8,16, not {text!r}")
    return sorted(set(map(int, items)))


def _shapes(name: str) -> tuple[Shape, ...]:
    shapes = tuple(shape for shape in SHAPES if name in (shape, "both"))
    if not shapes:
        raise UsageError(f"unknown shape {name!r}: choose from both, {', '.join(SHAPES)}")
    return shapes


def _as_json(loaded: Loaded, cost: Cost, passes: int) -> dict[str, Any]:
    curve = cost.curve
    more = [rows for rows in curve.rows if rows > 1]
    return {
        "model": loaded.source.name,
        "engine": loaded.engine,
        "isa": isa_of(loaded),
        "threads": loaded.threads,
        "weight_bytes": cost.weight_bytes,
        "read_gb_s": cost.read_gb_s,
        "rows": [_row_json(cost, rows) for rows in curve.rows],
        "roofline_fraction": cost.roofline_fraction,
        "flatness": {str(rows): cost.flatness(rows) for rows in more},
        "context": curve.context,
        "passes": passes,
        "read_gb_s_range": [min(cost.readings), max(cost.readings)],
    }


def _row_json(cost: Cost, rows: int) -> dict[str, Any]:
    low, high = cost.curve.spread(rows)
    return {
        "rows": rows,
        "ms": cost.curve.seconds(rows) * 1e3,
        "quartiles_ms": [low * 1e3, high * 1e3],
        **{f"{shape}_ms": found for shape in SHAPES if (found := _shape_ms(cost, rows, shape)) is not None},
    }


def _shape_ms(cost: Cost, rows: int, shape: Shape) -> float | None:
    return cost.curve.seconds(rows, shape) * 1e3 if cost.curve.samples(rows, shape) else None


def _as_text(loaded: Loaded, cost: Cost) -> list[str]:
    curve = cost.curve
    threads = f"{loaded.threads} thread{'s' if loaded.threads > 1 else ''}"
    lines = [
        f"{loaded.source.name}: {loaded.engine} ({isa_of(loaded)}), {threads}, {curve.context} tokens of context",
        "",
        "rows        ms   half of the passes    chain      tree   flatness",
    ]
    for rows in curve.rows:
        low, high = curve.spread(rows)
        shapes = (_shape_ms(cost, rows, shape) for shape in SHAPES)
        cells = "".join(f"{one:10.2f}" if one is not None else f"{'':10}" for one in shapes)
        spread = f"{low * 1e3:.2f} – {high * 1e3:.2f}"
        lines.append(f"{rows:4} {curve.seconds(rows) * 1e3:9.2f} {spread:>20}{cells} {cost.flatness(rows):9.2f}")
    megabytes, one = cost.weight_bytes / 1e6, curve.seconds(1) * 1e3
    lines += [
        "",
        f"Reading the weights once ({megabytes:.1f} MB at {cost.read_gb_s:.1f} GB/s) takes {cost.floor * 1e3:.2f} ms; "
        f"a pass of one row takes {one:.2f} ms, {cost.roofline_fraction:.0%} of memory speed.",
        _meaning(cost),
    ]
    return lines


def _meaning(cost: Cost) -> str:
    """How many drafts are nearly free, in a sentence."""
    rows, most = cost.nearly_free, cost.curve.rows[-1]
    if most == 1:
        return "Only one row was measured: give more --rows to see what drafts cost."
    if rows == 1:
        few = cost.curve.rows[1]
        return f"No draft is nearly free: even a pass of {few} rows costs {cost.flatness(few):.2f} times one."
    drafts = f"{rows - 1} draft{'s are' if rows > 2 else ' is'}"
    beyond = f"; {most} rows cost {cost.flatness(most):.2f} times" if rows < most else ""
    return f"About {drafts} nearly free a round: a pass of {rows} rows costs at most {NEARLY_FREE:g} times one{beyond}."
