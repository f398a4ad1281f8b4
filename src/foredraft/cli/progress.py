"""A bar for measurements: with the time left, on a terminal only, and drawn between the measurements, never in them."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass


@dataclass(frozen=True)
class Pace:
    """Where the work was seen first, from which the rest is told: what an earlier run did took no time of this one."""

    clock: float
    done: int

    def left(self, clock: float, done: int, total: int) -> float | None:
        """Seconds for the rest at the pace so far; None at the beginning."""
        if done <= self.done:
            return None
        return (clock - self.clock) / (done - self.done) * (total - done)


def spelt(seconds: float | None) -> str:
    """A time left, as `1:02:03 left` or `2:03 left`."""
    if seconds is None:
        return ""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02} left" if hours else f"{minutes}:{rest:02} left"


@contextmanager
def counting(what: str, clock: Callable[[], float] = time.monotonic) -> Iterator[Callable[[int, int], None]]:
    """A callback (done, of how many). No thread redraws the bar: it would share the processor with what is timed."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[left]}"),
    )
    console, shown = Console(stderr=True), sys.stderr.isatty()
    pace: Pace | None = None
    with Progress(*columns, console=console, transient=True, disable=not shown, auto_refresh=False) as bar:
        task = bar.add_task(what, total=None, left="")

        def advance(done: int, total: int) -> None:
            nonlocal pace
            now = clock()
            pace = pace or Pace(now, done)
            bar.update(task, completed=done, total=total, left=spelt(pace.left(now, done, total)), refresh=True)

        yield advance
