"""A run against a server as a part of the page: how much it says with more and more users, and how long each waits."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from foredraft.bench.charts import Series, curves, marked
from foredraft.bench.events import RESULT
from foredraft.bench.figures import Plot
from foredraft.bench.parts import figure, table
from foredraft.bench.record import Json
from foredraft.bench.svg import markup
from foredraft.bench.url_record import Answer, Served
from foredraft.bench.url_report import report
from foredraft.bench.url_words import COLUMNS, number, row, words

Figure = Callable[[Json], float | None]


def served(place: str, name: str, run: Served) -> str:
    """The section `place` of a page, headed by `name`."""
    result = result_of(run)
    unfinished = "" if finished(run) else "<p><strong>This run is not finished.</strong></p>\n"
    said = "\n".join(f"<p>{markup(line)}</p>" for line in words(result, messages=False))
    tasks = list(result["runs"][0]["by_task"])
    rows = [
        [f"{task}, {one['concurrency']} at a time", *_task(one["by_task"][task])]
        for task in tasks
        for one in result["runs"]
        if task in one["by_task"]
    ]
    drawn = "\n".join(figure(plot) for plot in (speeds(result), waiting(result)))
    by_task = table(("task", "requests", "tokens/s each", "first text, ms", "tokens a pass"), rows)
    return (
        f'<section id="{place}">\n<h2>{markup(name)}</h2>\n{_facts(result)}\n{unfinished}{said}\n'
        f"{table(COLUMNS, [row(one) for one in result['runs']])}\n{drawn}\n<h3>By task</h3>\n{by_task}\n</section>"
    )


def result_of(run: Served) -> Json:
    """The figures of what is there; requests that were never made of any concurrency are not known of."""
    answers = [line for line in run.lines if isinstance(line, Answer)]
    prompts, cases = ({getattr(answer, of) for answer in answers} for of in ("prompt", "case"))
    return report(run.setup, run.lines, len(prompts), len(cases))


def finished(run: Served) -> bool:
    """Whether there is a result, and every concurrency was asked the same."""
    asked = {level: set[str]() for level in run.setup["concurrency"]}
    for line in run.lines:
        if isinstance(line, Answer) and line.concurrency in asked:
            asked[line.concurrency].add(line.case)
    first, *others = asked.values()
    return (run.folder / RESULT).exists() and all(cases == first for cases in others)


def speeds(result: Json) -> Plot:
    """Tokens a second by how many ask at a time."""
    told = "Tokens a second over whole answers, the work on their prompts included: of all users together, and of one."
    return _curves(
        "Speed by users at a time",
        told,
        "tokens a second",
        result,
        {"all together": lambda one: one["tok_s"], "each": lambda one: one["user_tok_s"]},
    )


def waiting(result: Json) -> Plot:
    """How long nothing shows, by how many ask at a time."""
    told = "Milliseconds until the first text shows, and between one burst of text and the next: of a hundred the 95th."
    return _curves(
        "Waiting by users at a time",
        told,
        "milliseconds",
        result,
        {
            "first text": lambda one: one["first_ms"] and one["first_ms"]["median"],
            "first text, 95th": lambda one: one["first_ms"] and one["first_ms"]["p95"],
            "between bursts, 95th": lambda one: one["gap_ms"] and one["gap_ms"]["p95"],
        },
    )


def _curves(title: str, told: str, unit: str, result: Json, found: dict[str, Figure]) -> Plot:
    series = [
        Series(
            name,
            place,
            tuple(
                (float(one["concurrency"]), value, f"{name}, {one['concurrency']} at a time: {value:.1f} {unit}")
                for one in result["runs"]
                if (value := of(one)) is not None
            ),
        )
        for place, (name, of) in enumerate(found.items())
    ]
    rows = [[one.name, f"{x:.0f}", f"{y:.1f}"] for one in series for x, y, _ in one.points]
    legend = "".join(f"<li>{marked(one.place)} {markup(one.name)}</li>" for one in series)
    drawn = curves(title, series, "users at a time", unit)
    return Plot(title, told, f'<ul class="legend">{legend}</ul>', drawn, ("what", "users at a time", unit), rows)


def _facts(result: Json) -> str:
    """What was measured with what. The address is not told: it may be nobody's business."""
    facts = [
        f"{Path(str(result['model'])).name}, asked for {result['api']}",
        f"suite {Path(str(result['suite'])).name}, {result['prompts']} prompts ({result['cases']} requests), at most "
        f"{result['max_tokens']} tokens, temperature {result['temperature']:g}",
        f"measured by version {result['version']}, commit {str(result.get('commit') or 'unknown')[:12]}",
    ]
    return '<p class="facts">' + "<br>\n".join(map(markup, facts)) + "</p>"


def _task(found: Json) -> list[str]:
    first = found["first_ms"] and found["first_ms"]["median"]
    return [
        str(found["requests"]),
        number(found["user_tok_s"]),
        number(first),
        number(found["mean_acceptance_length"], 2),
    ]
