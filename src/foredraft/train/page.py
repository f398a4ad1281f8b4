"""A run as a page: held-out acceptance and the loss over its steps, from the lines of its log."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import Any

from foredraft.bench.charts import Series, curves

ACCEPTED = ("Mean acceptance length on held-out prompts", "acceptance_length", "tokens a pass", 1.0)
LOST = ("Loss, the mean since the evaluation before", "loss", "nats", 0.0)


def page(method: str, lines: Sequence[Mapping[str, Any]]) -> str:
    """Self-contained HTML. lines: an evaluation each, oldest first."""
    style = (files("foredraft.bench") / "page.css").read_text(encoding="utf-8")
    name = html.escape(f"train {method}")
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f"<title>{name}</title>\n<style>\n{style}</style>\n</head>\n<body>\n<h1>{name}</h1>\n"
        f"{_figure(lines, 0, *ACCEPTED)}{_figure(lines, 1, *LOST)}</body>\n</html>\n"
    )


def _figure(lines: Sequence[Mapping[str, Any]], place: int, title: str, key: str, unit: str, least: float) -> str:
    told = [(line["step"], line[key]) for line in lines if line[key] is not None]
    points = tuple((float(step), float(value), f"step {step}: {value}") for step, value in told)
    drawn = curves(title, [Series(key, place, points)], "steps", unit, least=least)
    return f'<h2>{html.escape(title)}</h2>\n<figure><div class="plot" tabindex="0">{drawn}</div></figure>\n'
