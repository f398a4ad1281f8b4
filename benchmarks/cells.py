"""What the generated tables have in common: lines of Markdown, and drafters as a reader knows them."""

from __future__ import annotations

import re
from collections.abc import Sequence


def line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def head(cells: Sequence[str]) -> list[str]:
    """The first two lines of a table."""
    return [line(cells), line(["---"] * len(cells))]


def short(drafter: str) -> str:
    """A drafter without the file of its head, which is that of the run's model."""
    return re.sub(r":[^+,]*\.safetensors", "", drafter)
