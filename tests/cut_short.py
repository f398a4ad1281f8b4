"""A training run that is cut short and taken up, batch by batch, so that losses can be compared."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from foredraft.train.trainer import Trainer


def learn_until(stop: int, run: Trainer, out: Path, keep: Callable[[Trainer], object]) -> list[float]:
    """The losses of the steps from where `out` stands up to `stop`, where the run is kept."""
    found: list[float] = []
    run._resume()
    if run.first:
        out.mkdir(exist_ok=True)
    for batch in run._batches():
        found.append(run._learn(batch))
        if run.step == stop:
            keep(run)
            break
    return found
