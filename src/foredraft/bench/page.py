"""Benchmarks as one page that needs nothing but itself: no network, no script, light, dark, and without colour.

Every picture has a table that says the same. What comes from outside, names of prompts and drafters among it, is
escaped, and the page's own policy forbids it to run or load anything.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path

from foredraft.bench.charts import hatches
from foredraft.bench.entrants import NONE
from foredraft.bench.events import Events
from foredraft.bench.figures import PLOTS
from foredraft.bench.losing import Loss, losses
from foredraft.bench.parts import figure, table
from foredraft.bench.record import Json
from foredraft.bench.report import report
from foredraft.bench.svg import markup
from foredraft.bench.url_page import served
from foredraft.bench.url_record import Served
from foredraft.bench.words import summary
from foredraft.core.errors import UsageError

POLICY = "default-src 'none'; style-src 'unsafe-inline'"
LISTED = 200  # losing texts of a run; the others are counted


def page(runs: Sequence[Events | Served]) -> str:
    """The HTML of one or several runs. Raises UsageError for a run that has no case yet."""
    for run in runs:
        if not (run.cases if isinstance(run, Events) else run.lines):
            raise UsageError(f"{run.folder} has no case yet: measure at least one prompt")
    title = "foredraft: a benchmark" if len(runs) == 1 else f"foredraft: {len(runs)} benchmarks"
    style = (files("foredraft.bench") / "page.css").read_text(encoding="utf-8")
    results = {
        place: report(run.setup, run.cases, run.drafters) for place, run in enumerate(runs) if isinstance(run, Events)
    }
    parts = [f"<h1>{markup(title)}</h1>"]
    if len(runs) > 1:
        parts.append(_overview(runs, results))
    parts += [
        _run(place, run, results[place]) if isinstance(run, Events) else served(f"run{place}", _name(run), run)
        for place, run in enumerate(runs)
    ]
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n'
        f"<title>{markup(title)}</title>\n<style>\n{style}</style>\n</head>\n"
        f"<body>\n{hatches()}\n<main>\n" + "\n".join(parts) + "\n</main>\n</body>\n</html>\n"
    )


def _overview(runs: Sequence[Events | Served], results: Mapping[int, Json]) -> str:
    """Links to all runs, and what those that compare drafters came to."""
    rows = [
        [f"{_name(runs[place])}: {one['drafter']}", _file(result["model"]), _file(result["suite"]), *_speed(one)]
        for place, result in results.items()
        for one in result["runs"]
    ]
    links = "".join(f'<li><a href="#run{place}">{markup(_name(run))}</a></li>' for place, run in enumerate(runs))
    columns = ("run and drafter", "model", "suite", "speed-up", "95% interval", "without loops", "tokens/s")
    compared = table(columns, rows) if rows else ""
    return f'<nav aria-label="runs"><ul class="legend">{links}</ul></nav>\n{compared}'


def _run(place: int, run: Events, result: Json) -> str:
    said = "\n".join(f"<p>{markup(line)}</p>" for line in summary(result))
    columns = ("drafter", "speed-up", "95% interval", "without loops", "tokens/s", "tokens a pass", "accepted")
    rows = [[one["drafter"], *_speed(one), *_acceptance(one)] for one in result["runs"]]
    plots = [plot(run, result) for plot in PLOTS]
    drawn = "\n".join(figure(one) for one in plots if one is not None)
    unfinished = "" if (run.folder / "result.json").exists() else "<p><strong>This run is not finished.</strong></p>\n"
    return (
        f'<section id="run{place}">\n<h2>{markup(_name(run))}</h2>\n{_facts(run, result)}\n{unfinished}'
        f"{said}\n{table(columns, rows)}\n{_felt(result)}\n{drawn}\n{_losing(run)}\n</section>"
    )


def _facts(run: Events, result: Json) -> str:
    """What was measured with what."""
    setup = run.setup
    turns = f" ({result['cases']} turns)" if result["cases"] > result["prompts"] else ""
    isa, threads, processor = setup.get("isa", "unknown"), setup.get("threads"), setup["machine"].get("processor")
    how = f"at most {setup.get('max_tokens')} tokens, temperature {setup.get('temperature')}"
    cold = "warm" if setup.get("warm") else "cold"
    facts = [
        f"{_file(result['model'])} on {result['engine']} ({isa}), {threads} threads of {processor or 'unknown'}",
        f"suite {_file(result['suite'])}, {result['prompts']} prompts{turns}, {how}, policy "
        f"{setup.get('policy', 'constant')}, {cold}",
        f"plain decoding: {result['baseline']['tok_s']:.1f} tokens a second",
        f"version {result['version']}, commit {str(setup.get('commit') or 'unknown')[:12]}, weights "
        f"{str(setup.get('model_sha256', 'unknown'))[:12]}",
    ]
    return '<p class="facts">' + "<br>\n".join(map(markup, facts)) + "</p>"


def _felt(result: Json) -> str:
    """How long nothing shows, and memory."""
    arms = [("plain", result["baseline"]), *((one["drafter"], one) for one in result["runs"])]
    rows = [
        [
            arm,
            *(
                f"{1e3 * found['latency'][key][which]:.1f}" if found["latency"][key] else "–"
                for key in ("time_to_first_token", "burst_gap")
                for which in ("median", "p95")
            ),
            *(_megabytes(found["memory"][key]) for key in ("peak_rss", "anonymous")),
        ]
        for arm, found in arms
    ]
    told = (
        "Until the first text shows, the prompt's scoring included, and between one burst of text and the next: median "
        "and 95th percentile. Memory is the whole process's, all arms' models included."
    )
    columns = (
        "arm",
        "first text, ms",
        "95th, ms",
        "between bursts, ms",
        "95th, ms",
        "peak memory, MB",
        "anonymous, MB",
    )
    return f"<h3>What a reader feels</h3>\n<p>{told}</p>\n{table(columns, rows)}"


def _losing(run: Events) -> str:
    found = losses(run.cases, run.drafters)
    if not found:
        return "<h3>Where it loses</h3>\n<p>On no prompt: every text took less time than plain decoding.</p>"
    whole = len(run.cases) * sum(drafter != NONE for drafter in run.drafters)
    more = f" The {LISTED} worst of them:" if len(found) > LISTED else ""
    told = (
        f"{len(found)} of {whole} texts took longer than plain decoding, worst first. Pass cost: in plain ones.{more}"
    )
    columns = ("prompt", "task", "drafter", "speed-up", "why", "tokens a pass", "pass cost", "drafting", "accepted")
    return f"<h3>Where it loses</h3>\n<p>{markup(told)}</p>\n{table(columns, [_loss(one) for one in found[:LISTED]])}"


def _loss(one: Loss) -> list[str]:
    return [
        one.id + (" (loops)" if one.loops else ""),
        one.task,
        one.drafter,
        f"{one.speedup:.2f}x",
        one.why,
        f"{one.length:.2f}",
        f"{one.pass_cost:.2f}",
        f"{one.drafting:.0%}",
        f"{one.acceptance:.0%}" if one.acceptance is not None else "–",
    ]


def _speed(one: Json) -> list[str]:
    interval, without = one["speedup_ci"], one["without_looping"]
    return [
        f"{one['speedup']:.2f}x",
        f"{interval[0]:.2f} – {interval[1]:.2f}" if interval is not None else "–",
        f"{without['speedup']:.2f}x" if without is not None else "–",
        f"{one['tok_s']:.1f}",
    ]


def _acceptance(one: Json) -> list[str]:
    rate = f"{one['draft_acceptance_rate']:.0%}" if one["drafted"] else "–"
    return [f"{one['mean_acceptance_length']:.2f}", rate]


def _megabytes(size: int | None) -> str:
    return f"{size / 1e6:.0f}" if size is not None else "–"


def _name(run: Events | Served) -> str:
    return run.folder.resolve().name


def _file(name: str) -> str:
    """The last part of a path: where it lay is nobody's business."""
    return Path(name).name
