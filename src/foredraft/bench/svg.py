"""A little SVG: elements as text, scales with round ticks, marks that differ in shape as well as in colour.

Colours are the page's (classes `s0` … `s7`, `axis`, `grid`), so that one picture serves light and dark.
"""

from __future__ import annotations

import html
import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

COLOURS = 8
SHAPES = (
    "M-5,0 A5,5 0 1 1 5,0 A5,5 0 1 1 -5,0 Z",  # circle
    "M-4.5,-4.5 H4.5 V4.5 H-4.5 Z",  # square
    "M0,-6 L6,0 L0,6 L-6,0 Z",  # diamond
    "M0,-6 L5.5,4.5 H-5.5 Z",  # triangle
    "M0,6 L5.5,-4.5 H-5.5 Z",  # triangle on its head
    "M-1.8,-6 H1.8 V-1.8 H6 V1.8 H1.8 V6 H-1.8 V1.8 H-6 V-1.8 H-1.8 Z",  # cross
    "M-6,0 L-3,-5.2 H3 L6,0 L3,5.2 H-3 Z",  # hexagon
    "M0,-6.5 L1.8,-1.8 L6.5,0 L1.8,1.8 L0,6.5 L-1.8,1.8 L-6.5,0 L-1.8,-1.8 Z",  # star
)
_UNSEEN = re.compile("[\ud800-\udfff\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")
DASHES = ("none", "6 3", "2 2", "8 3 2 3", "1 3", "10 4", "4 2 1 2 1 2", "12 2")


def markup(words: str) -> str:
    """Words from outside as markup. What would turn those beside them around, or cannot be seen, is � instead."""
    return html.escape(_UNSEEN.sub("\ufffd", words))


def element(name: str, *children: str, **attributes: object) -> str:
    """An element. children: markup. A trailing underscore of an attribute's name is dropped, others are hyphens."""
    words = [f'{key.rstrip("_").replace("_", "-")}="{markup(_spelt(value))}"' for key, value in attributes.items()]
    return f"<{' '.join([name, *words])}>{''.join(children)}</{name}>"


def text(words: str, x: float, y: float, **attributes: object) -> str:
    """A line of text."""
    return element("text", markup(words), x=x, y=y, **attributes)


def line(x1: float, y1: float, x2: float, y2: float, **attributes: object) -> str:
    return element("line", x1=x1, y1=y1, x2=x2, y2=y2, **attributes)


def polyline(points: Iterable[tuple[float, float]], **attributes: object) -> str:
    """An open line through points."""
    return element(
        "polyline", points=" ".join(f"{_spelt(x)},{_spelt(y)}" for x, y in points), fill="none", **attributes
    )


def mark(series: int, x: float, y: float, title: str) -> str:
    """The mark of a series, with what it says when pointed at. Beyond the shapes, the same ones hollow."""
    hollow = " hollow" if series // len(SHAPES) % 2 else ""
    path = element("path", d=SHAPES[series % len(SHAPES)], transform=f"translate({_spelt(x)} {_spelt(y)})")
    return element("g", path, element("title", markup(title)), class_=f"mark {colour(series)}{hollow}")


def colour(series: int) -> str:
    """The class that colours a series."""
    return f"s{series % COLOURS}"


def dash(series: int) -> str:
    """The dashes of a series' line."""
    return DASHES[series % len(DASHES)]


def picture(width: float, height: float, title: str, description: str, *children: str) -> str:
    """A whole picture; those who do not see it are read its title and description."""
    head = (element("title", markup(title)), element("desc", markup(description)))
    box = f"0 0 {_spelt(width)} {_spelt(height)}"
    return element("svg", *head, *children, viewBox=box, role="img", aria_label=f"{title}. {description}")


@dataclass(frozen=True)
class Scale:
    """From values low … high to places start … end, which may run backwards."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)

    def ticks(self, most: int = 8) -> list[float]:
        """Round values within it, at most so many."""
        step = _round_step((self.high - self.low) / max(1, most - 1))
        first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
        return [number * step for number in range(first, last + 1)]


def spanning(values: Sequence[float], start: float, end: float, *, least: float | None = None) -> Scale:
    """A scale that holds values and some room; from `least` on where that is given. Of no values, from 0 to 1."""
    low = min([*values, *([least] if least is not None else [])], default=0.0)
    high = max(values, default=1.0)
    room = 0.06 * (high - low) or 0.5
    return Scale(low if least is not None and low == least else low - room, high + room, start, end)


def number(value: float) -> str:
    """A tick as one would write it: 0.5, 1, 12."""
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def _round_step(step: float) -> float:
    """1, 2 or 5 times a power of ten, not below `step`."""
    power = 10.0 ** math.floor(math.log10(step))
    return next((factor * power for factor in (1, 2, 5) if factor * power >= step * (1 - 1e-9)), 10 * power)


def _spelt(value: object) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)
