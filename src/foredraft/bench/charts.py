"""The pictures of a benchmark, each from plain numbers: dots with whiskers, points, curves, stacked bars.

Whatever is told by colour is told by shape, dashes, hatching or a label as well.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from foredraft.bench.svg import (
    Scale,
    colour,
    dash,
    element,
    line,
    mark,
    markup,
    number,
    picture,
    polyline,
    spanning,
    text,
)

WIDTH = 720.0
LEFT, RIGHT, TOP, BOTTOM = 56.0, 16.0, 14.0, 44.0
ROW = 19.0
LONGEST, WIDE = 30, 60  # characters of a label, and of one that stands over others
FURTHEST = 1.5  # times the highest value: intervals that go on leave the picture, or they would flatten it


@dataclass(frozen=True)
class Dot:
    """A measured value. interval: None where there is none."""

    value: float
    interval: tuple[float, float] | None = None


@dataclass(frozen=True)
class Series:
    """Points of one name; place: which mark and colour it has. joined: by a line, as a curve is."""

    name: str
    place: int
    points: tuple[tuple[float, float, str], ...]  # x, y, what it is
    joined: bool = True


def short(name: str) -> str:
    """A drafter's name for a label: folders left out, and the middle where it is long."""
    parts = [part.rpartition("/")[2] if "/" in part else part for part in _parts(name)]
    return _clipped("".join(parts), LONGEST)


def dots(title: str, groups: Mapping[str, Mapping[str, Dot]], places: Mapping[str, int], unit: str) -> str:
    """A row for each name within each group, its value with whiskers, and a line at 1."""
    drawn_dots = [dot for rows in groups.values() for dot in rows.values()]
    values = [end for dot in drawn_dots for end in (dot.interval or ()) + (dot.value,)]
    most = FURTHEST * max([1.0, *(dot.value for dot in drawn_dots)])
    left = 20.0 + 7.0 * max((len(short(name)) for rows in groups.values() for name in rows), default=1)
    height = TOP + sum(ROW * (1 + len(rows)) + 6 for rows in groups.values()) + BOTTOM
    across = spanning([*(min(value, most) for value in values), 1.0], left, WIDTH - 60)
    drawn = [_across(across, TOP, height - BOTTOM, unit), _at_one(across, height)]
    y = TOP
    for group, rows in groups.items():
        y += ROW
        drawn.append(text(_clipped(group.replace("_", " "), WIDE), 4, y - 5, class_="group"))
        for name, dot in rows.items():
            y += ROW
            drawn.append(_dot_row(name, dot, places[name], across, left, y - 6))
        y += 6
    described = f"{len(groups)} groups, from {min(values):.2f} to {max(values):.2f} times; the table has every value"
    return picture(WIDTH, height, title, described, *drawn)


def points(title: str, series: Sequence[Series], across: str, up: str, *, diagonal: bool = False) -> str:
    """Points of several series. diagonal: with the line of equal values."""
    xs, ys = _places(series)
    height = 380.0
    x = spanning([*xs, 1.0], LEFT, WIDTH - RIGHT)
    y = spanning([*ys, 1.0], height - BOTTOM, TOP)
    drawn = [_across(x, TOP, height - BOTTOM, across), _up(y, LEFT, WIDTH - RIGHT, up)]
    drawn.append(line(x.start, y(1.0), x.end, y(1.0), class_="one"))
    if diagonal:
        low, high = max(x.low, y.low), min(x.high, y.high)
        drawn.append(line(x(low), y(low), x(high), y(high), class_="ideal"))
    drawn += [mark(one.place, x(px), y(py), what) for one in series for px, py, what in one.points]
    return picture(WIDTH, height, title, f"{len(xs)} points; the table has every one", *drawn)


def curves(title: str, series: Sequence[Series], across: str, up: str, *, least: float = 0.0) -> str:
    """Marks, joined by lines where the series is. least: where the upward axis begins."""
    xs, ys = _places(series)
    height = 340.0
    x = spanning(xs, LEFT, WIDTH - RIGHT, least=min(xs, default=0.0))
    y = spanning([*ys, least + 1.0], height - BOTTOM, TOP, least=least)
    drawn = [_across(x, TOP, height - BOTTOM, across), _up(y, LEFT, WIDTH - RIGHT, up)]
    for one in series:
        path = [(x(px), y(py)) for px, py, _ in one.points] if one.joined else []
        drawn.append(polyline(path, class_=f"curve {colour(one.place)}", stroke_dasharray=dash(one.place)))
        drawn += [mark(one.place, x(px), y(py), what) for px, py, what in one.points]
    return picture(WIDTH, height, title, f"{len(series)} series; the table has every point", *drawn)


def bars(title: str, rows: Mapping[str, Mapping[str, float]], unit: str) -> str:
    """A bar for each row, of hatched parts one after another, and the sum at its end."""
    left = 20.0 + 7.0 * max((len(short(name)) for name in rows), default=1)
    height = TOP + 30.0 * len(rows) + BOTTOM
    sums = [sum(parts.values()) for parts in rows.values()]
    across = Scale(0.0, max(sums, default=1.0) * 1.02 or 1.0, left, WIDTH - 70)
    drawn = [_across(across, TOP, height - BOTTOM, unit)]
    for place, (name, parts) in enumerate(rows.items()):
        y, at = TOP + 30.0 * place + 4, 0.0
        drawn.append(text(short(name), left - 8, y + 15, text_anchor="end"))
        for part, (what, amount) in enumerate(parts.items()):
            drawn.append(_part(part, across, y, at, amount, f"{name}: {what} {amount:.3g} {unit}"))
            at += amount
        drawn.append(text(f"{at:.3g}", across(at) + 6, y + 15))
    return picture(WIDTH, height, title, "one bar a line; the table has every part", *drawn)


def hatched(part: int) -> str:
    """A swatch of a part of `bars`, for a legend."""
    swatch = _rectangles(part, 0.0, 0.0, 18.0, 12.0)
    return element("svg", *swatch, viewBox="0 0 18 12", class_="swatch", aria_hidden="true")


def marked(place: int) -> str:
    """The mark of a series, for a legend."""
    drawn = mark(place, 9.0, 7.0, "")
    return element("svg", drawn, viewBox="0 0 18 14", class_="swatch", aria_hidden="true")


def hatches() -> str:
    """What lies over the parts of bars, once a page: nothing, lines one way, the other way, level ones."""
    drawn = ("", line(0, 6, 6, 0, class_="hatch"), line(0, 0, 6, 6, class_="hatch"), line(0, 3, 6, 3, class_="hatch"))
    patterns = [
        element("pattern", lines, id=f"hatch{part}", width=6, height=6, patternUnits="userSpaceOnUse")
        for part, lines in enumerate(drawn)
    ]
    return element("svg", element("defs", *patterns), width=0, height=0, class_="patterns", aria_hidden="true")


def _parts(name: str) -> list[str]:
    """Split where an option's value begins and ends, the marks kept."""
    found = [""]
    for letter in name:
        found[-1] += letter
        if letter in ":=,+":
            found.append("")
    return found


def _places(series: Sequence[Series]) -> tuple[list[float], list[float]]:
    """All x, all y."""
    every = [point for one in series for point in one.points]
    return [x for x, _, _ in every], [y for _, y, _ in every]


def _dot_row(name: str, dot: Dot, place: int, across: Scale, left: float, y: float) -> str:
    drawn = [text(short(name), left - 8, y + 4, text_anchor="end")]
    told = f"{name}: {dot.value:.2f}x"
    if dot.interval is not None:
        low, high = dot.interval
        told += f", {low:.2f} to {high:.2f}"
        drawn.append(_whisker(across(low), min(across(high), across.end), y, across(high) > across.end, place))
    drawn.append(mark(place, across(dot.value), y, told))
    drawn.append(text(f"{dot.value:.2f}x", WIDTH - 8, y + 4, text_anchor="end"))
    return "".join(drawn)


def _whisker(start: float, end: float, y: float, goes_on: bool, place: int) -> str:
    """From end to end of an interval; an arrow where it goes on beyond the picture."""
    kind = f"whisker {colour(place)}"
    close = (
        polyline([(end - 6, y - 4), (end, y), (end - 6, y + 4)], class_=f"{kind} goes-on")
        if goes_on
        else line(end, y - 4, end, y + 4, class_=kind)
    )
    return line(start, y, end, y, class_=kind) + line(start, y - 4, start, y + 4, class_=kind) + close


def _clipped(words: str, longest: int) -> str:
    """The middle left out where they are longer."""
    return words if len(words) <= longest else f"{words[: longest // 2]}…{words[-(longest // 2 - 1) :]}"


def _across(scale: Scale, top: float, bottom: float, label: str) -> str:
    """Ticks, grid and label along the bottom."""
    drawn = [line(scale(tick), top, scale(tick), bottom, class_="grid") for tick in scale.ticks()]
    drawn += [
        text(number(tick), scale(tick), bottom + 16, text_anchor="middle", class_="tick") for tick in scale.ticks()
    ]
    middle = (scale.start + scale.end) / 2
    return "".join([*drawn, text(label, middle, bottom + 36, text_anchor="middle", class_="label")])


def _up(scale: Scale, left: float, right: float, label: str) -> str:
    """The same along the left side."""
    drawn = [line(left, scale(tick), right, scale(tick), class_="grid") for tick in scale.ticks(6)]
    drawn += [
        text(number(tick), left - 6, scale(tick) + 4, text_anchor="end", class_="tick") for tick in scale.ticks(6)
    ]
    middle = (scale.start + scale.end) / 2
    turned = f"rotate(-90 14 {middle:.0f})"
    return "".join([*drawn, text(label, 14, middle, text_anchor="middle", class_="label", transform=turned)])


def _at_one(across: Scale, height: float) -> str:
    return line(across(1.0), TOP, across(1.0), height - BOTTOM, class_="one")


def _part(part: int, across: Scale, y: float, at: float, amount: float, title: str) -> str:
    start, end = across(at), across(at + amount)
    return element("g", *_rectangles(part, start, y, end - start, 20.0), element("title", markup(title)))


def _rectangles(part: int, x: float, y: float, width: float, height: float) -> list[str]:
    """Colour, and a hatching over it."""
    where = {"x": x, "y": y, "width": max(0.0, width), "height": height}
    return [element("rect", class_=f"bar {colour(part)}", **where), element("rect", fill=f"url(#hatch{part})", **where)]
