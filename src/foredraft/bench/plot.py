"""A sweep as a picture: measured speed-up by value with its interval, and the formula's curve beside it."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from foredraft.bench.record import Json
from foredraft.core.errors import ForedraftError

NAME = "sweep.png"


def plot_sweep(found: Json, title: str, folder: Path) -> Path | None:
    """Draws `sweep_json` into the folder; None where matplotlib is not installed (extra `bench`)."""
    if find_spec("matplotlib") is None:
        return None
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.add_subplot()
    for one, colour in zip(found["drafters"], (f"C{place % 10}" for place in range(len(found["drafters"])))):
        points = one["points"]
        values = [point["value"] for point in points]
        numbers = [float(value) for value in values] if all(map(_number, values)) else list(range(len(values)))
        speed = [point["speedup"] for point in points]
        axes.plot(numbers, speed, "o-", color=colour, label=f"{one['drafter']}, measured")
        axes.errorbar(numbers, speed, yerr=_errors(points), fmt="none", ecolor=colour, alpha=0.5)
        if "formula" in points[0]:
            axes.plot(numbers, [point["formula"] for point in points], "--", color=colour, label="by formula")
        if not all(map(_number, values)):
            axes.set_xticks(numbers, values)
    axes.axhline(1.0, color="grey", linewidth=0.8)
    axes.set(xlabel=found["option"], ylabel="times as fast as plain decoding", title=title)
    axes.legend()
    path = folder / NAME
    try:
        figure.savefig(path, dpi=150)
    except OSError as error:
        raise ForedraftError(f"cannot write {path}: {error.strerror or error}; make room and run again") from None
    return path


def _errors(points: list[Json]) -> list[list[float]]:
    """How far each interval reaches down and up."""
    ends = [point["speedup_ci"] or [point["speedup"]] * 2 for point in points]
    low = [max(0.0, point["speedup"] - end[0]) for point, end in zip(points, ends)]
    return [low, [max(0.0, end[1] - point["speedup"]) for point, end in zip(points, ends)]]


def _number(value: str) -> bool:
    try:
        float(value)
    except ValueError:
        return False
    return True
