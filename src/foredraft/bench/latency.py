"""What someone who watches a text being written feels: how long nothing shows, and how long it then stands still.

A burst is what one round makes visible. A round may show nothing: its tokens end inside a character, or may yet become
a stop string. Speculation shows more at once and less often, so a mean of gaps would flatter plain decoding and a rate
of tokens says nothing of a text that stutters: the 95th percentile of the gaps does.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise

import numpy as np

from foredraft.bench.record import Case, Json, Trial


def bursts(trial: Trial) -> list[float]:
    """Seconds from the scored prompt to each burst."""
    found, clock = [], trial.opening
    for place, step in enumerate(trial.steps):
        clock += step.wall
        if step.tokens and place not in trial.silent:
            found.append(clock)
    return found


def first_bursts(cases: Iterable[Case], arm: str) -> list[float]:
    """Of each case, seconds from the question to its first burst, the prompt's scoring included."""
    shown = [(case, bursts(case.trials[arm])) for case in cases]
    return [case.prompt_seconds + own[0] for case, own in shown if own]


def gaps(trials: Iterable[Trial]) -> list[float]:
    """Seconds between each burst and the next, within a text, of all texts."""
    return [later - earlier for trial in trials for earlier, later in pairwise(bursts(trial))]


def latency_json(cases: Sequence[Case], arm: str) -> Json:
    """Seconds, median and 95th percentile; None where nothing was shown, or in one burst."""
    return {
        "time_to_first_token": _percentiles(first_bursts(cases, arm)),
        "burst_gap": _percentiles(gaps(case.trials[arm] for case in cases)),
    }


def _percentiles(seconds: Sequence[float]) -> Json | None:
    if not seconds:
        return None
    middle, late = np.quantile(seconds, (0.5, 0.95))
    return {"median": float(middle), "p95": float(late)}
