"""Which pictures a benchmark is told in: title, what it shows, legend, picture, and the table that says the same."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from foredraft.bench.charts import Dot, Series, bars, curves, dots, hatched, marked, points
from foredraft.bench.entrants import PLAIN
from foredraft.bench.events import Events
from foredraft.bench.record import Json
from foredraft.bench.report import PARTS
from foredraft.bench.svg import markup


@dataclass(frozen=True)
class Plot:
    """A picture (markup) with its title, a sentence about it, its legend (markup), and the same numbers as a table."""

    title: str
    told: str
    legend: str
    picture: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]


ALL_TASKS = "all tasks"
FEWEST = 3  # passes of a count of rows, to say what it took


def by_task(run: Events, result: Json) -> Plot | None:
    """Speed-up by task and drafter, with intervals."""
    places = _places(result)
    tasks = list(result["runs"][0]["by_task"])
    groups = {task: {one["drafter"]: _dot(one["by_task"][task]) for one in result["runs"]} for task in tasks}
    if len(tasks) > 1:
        groups = {ALL_TASKS: {one["drafter"]: _dot(one) for one in result["runs"]}} | groups
    title = "Speed-up by task and drafter"
    told = (
        "How many times as fast as plain decoding, with 95% intervals, an arrow where one goes on; left of the line at "
        "1 it loses."
    )
    rows = [
        [f"{task}: {name}", f"{dot.value:.2f}x", _interval(dot)]
        for task, own in groups.items()
        for name, dot in own.items()
    ]
    drawn = dots(title, groups, places, "times as fast as plain decoding")
    return Plot(title, told, _legend(places), drawn, ("task and drafter", "speed-up", "95% interval"), rows)


def by_length(run: Events, result: Json) -> Plot | None:
    """Acceptance length against speed-up."""
    places = _places(result)
    series = [
        Series(
            one["drafter"],
            places[one["drafter"]],
            tuple(
                (
                    found["mean_acceptance_length"],
                    found["speedup"],
                    f"{one['drafter']}, {task}: {found['speedup']:.2f}x",
                )
                for task, found in one["by_task"].items()
            ),
        )
        for one in result["runs"]
    ]
    rows = [
        [f"{one['drafter']}, {task}", f"{found['mean_acceptance_length']:.2f}", f"{found['speedup']:.2f}x"]
        for one in result["runs"]
        for task, found in one["by_task"].items()
    ]
    title = "Acceptance length against speed-up"
    told = (
        "A point for each drafter and task. On the dashed line a pass would cost no more with drafts and drafting "
        "nothing; how far below it a point lies is what checking and drafting took."
    )
    up, across = "times as fast as plain decoding", "tokens a pass"
    drawn = points(title, series, across, up, diagonal=True)
    return Plot(title, told, _legend(places), drawn, ("drafter and task", "tokens a pass", "speed-up"), rows)


def by_rows(run: Events, result: Json) -> Plot | None:
    """The verification curve: what a pass of m rows takes, in passes of one."""
    series = []
    if run.costs is not None and run.costs.rows[:1] == (1,):
        pairs = zip(run.costs.rows, run.costs.seconds, strict=True)
        measured = [(rows, seconds / run.costs.seconds[0]) for rows, seconds in pairs]
        series.append(
            Series("measured before the run", 0, tuple(_at(rows, ratio, "a pass") for rows, ratio in measured))
        )
    met = tuple(_at(rows, ratio, f"{count} rounds") for rows, (ratio, count) in _met(run).items())
    series += [Series("median of the rounds", 1, met, joined=False)] if met else []
    if not series:
        return None
    title = "What a pass costs by its rows"
    told = "Drafts are rows of the pass that checks them: t(m) / t(1), in passes of a single row. Flat is cheap."
    rows = [[f"{one.name}, {x:.0f} rows", f"{y:.2f}"] for one in series for x, y, _ in one.points]
    drawn = curves(title, series, "rows", "in passes of one row")
    legend = _legend({one.name: one.place for one in series})
    return Plot(title, told, legend, drawn, ("rows", "t(m) / t(1)"), rows)


def by_part(run: Events, result: Json) -> Plot | None:
    """Where the time of a round goes."""
    split: dict[str, Mapping[str, float]] = {PLAIN: _round(run, PLAIN)}
    split |= {one["drafter"]: _round(run, one["drafter"]) for one in result["runs"]}
    rows = [
        [arm, *(f"{parts[part]:.3f}" for part in PARTS), f"{sum(parts.values()):.3f}"] for arm, parts in split.items()
    ]
    title = "Time of a round"
    told = (
        "Mean milliseconds of a round by what they went into: drafting, the pass that checks, choosing tokens, the "
        "rest. A round of a drafter brings several tokens, so a longer one may still be faster."
    )
    items = "".join(f"<li>{hatched(place)}{markup(part)}</li>" for place, part in enumerate(PARTS))
    legend = f'<ul class="legend">{items}</ul>'
    return Plot(title, told, legend, bars(title, split, "ms"), ("arm", *PARTS, "together"), rows)


def by_position(run: Events, result: Json) -> Plot | None:
    """Acceptance by position."""
    places = _places(result)
    series = [
        Series(
            one["drafter"],
            places[one["drafter"]],
            tuple(
                (float(place), rate, f"{one['drafter']}, position {place}: {rate:.0%}")
                for place, rate in enumerate(one["acceptance_by_position"], start=1)
            ),
        )
        for one in result["runs"]
        if one["acceptance_by_position"]
    ]
    if not series:
        return None
    deepest = max(len(one.points) for one in series)
    rows = [
        [one.name, *(f"{rate:.0%}" for _, rate, _ in one.points), *["–"] * (deepest - len(one.points))]
        for one in series
    ]
    title = "Acceptance by position"
    told = "Of the drafts that reach a position, how many are accepted there, and with them all before."
    drawn = curves(title, series, "position of the draft in its round", "share accepted")
    columns = ("drafter", *map(str, range(1, deepest + 1)))
    return Plot(title, told, _legend({one.name: one.place for one in series}), drawn, columns, rows)


PLOTS: tuple[Callable[[Events, Json], Plot | None], ...] = (by_task, by_length, by_rows, by_part, by_position)


def _places(result: Json) -> dict[str, int]:
    """Which mark and colour each drafter has."""
    return {one["drafter"]: place for place, one in enumerate(result["runs"])}


def _legend(places: Mapping[str, int]) -> str:
    items = "".join(f"<li>{marked(place)}{markup(name)}</li>" for name, place in places.items())
    return f'<ul class="legend">{items}</ul>'


def _dot(found: Json) -> Dot:
    interval = found["speedup_ci"]
    return Dot(found["speedup"], (interval[0], interval[1]) if interval is not None else None)


def _interval(dot: Dot) -> str:
    return f"{dot.interval[0]:.2f} – {dot.interval[1]:.2f}" if dot.interval is not None else "–"


def _at(rows: int, ratio: float, what: str) -> tuple[float, float, str]:
    return float(rows), ratio, f"{rows} rows, {what}: {ratio:.2f}"


def _met(run: Events) -> dict[int, tuple[float, int]]:
    """rows -> median seconds of the run's own passes in plain ones, and how many there were."""
    one = median(step.seconds.verify for step in run.steps(PLAIN))
    by_count: dict[int, list[float]] = {}
    for arm in run.drafters:
        for step in run.steps(arm):
            if step.tokens and step.rows == 1 + len(step.tree):
                by_count.setdefault(step.rows, []).append(step.seconds.verify)
    return {
        rows: (median(seconds) / one, len(seconds))
        for rows, seconds in sorted(by_count.items())
        if len(seconds) >= FEWEST and one
    }


def _round(run: Events, arm: str) -> dict[str, float]:
    """Mean milliseconds of a round by part; together they are all that was on the clock."""
    trials = [case.trials[arm] for case in run.cases]
    rounds = max(1, sum(trial.stats.passes for trial in trials))
    spent = {
        "draft": sum(trial.opening + trial.stats.seconds.draft for trial in trials),
        "verify": sum(trial.stats.seconds.verify for trial in trials),
        "sample": sum(trial.stats.seconds.sample for trial in trials),
    }
    rest = max(0.0, sum(trial.seconds for trial in trials) - sum(spent.values()))
    return {part: 1e3 * seconds / rounds for part, seconds in (spent | {"other": rest}).items()}
