"""Parts of a page: a table, and a picture with the table that says the same."""

from __future__ import annotations

from collections.abc import Sequence

from foredraft.bench.figures import Plot
from foredraft.bench.svg import markup


def table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table of texts; it scrolls by itself where it is wider than the page."""
    head = "".join(f'<th scope="col">{markup(column)}</th>' for column in columns)
    lines = ["".join(_cell(cell, place) for place, cell in enumerate(row)) for row in rows]
    body = "".join(f"<tr>{line}</tr>\n" for line in lines)
    found = f"<table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}</tbody>\n</table>"
    return f'<div class="wide" tabindex="0" role="region" aria-label="table">{found}</div>'


def _cell(words: str, place: int) -> str:
    cell = markup(words)
    return f'<th scope="row">{cell}</th>' if place == 0 else f"<td>{cell}</td>"


def figure(plot: Plot) -> str:
    """A picture, what it shows, and its numbers."""
    title = markup(plot.title)
    return (
        f"<figure>\n<h3>{title}</h3>\n<figcaption><p>{markup(plot.told)}</p></figcaption>\n{plot.legend}\n"
        f'<div class="plot" tabindex="0" role="region" aria-label="{title}">{plot.picture}</div>\n'
        f"<details><summary>The same as a table</summary>\n{table(plot.columns, plot.rows)}\n</details>\n</figure>"
    )
