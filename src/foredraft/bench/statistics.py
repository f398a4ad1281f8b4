"""The arithmetic of a comparison, pure: speed-ups from totals, intervals, loops.

The speed-up of a task is plain seconds / own seconds over all of its prompts, for the same number of tokens; the mean
over tasks is geometric. Its interval is a bootstrap over prompts: drawing prompts again, not steps, because it is
another set of prompts that would give another figure.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

DRAWS = 2000
LEVEL = 0.95


@dataclass(frozen=True)
class Pair:
    """One prompt decoded plainly and by another arm."""

    task: str
    plain_seconds: float
    plain_tokens: int
    seconds: float
    tokens: int


def geometric_mean(values: Iterable[float]) -> float:
    """Of positive values, at least one."""
    logs = [math.log(value) for value in values]
    return math.exp(math.fsum(logs) / len(logs))


def speedups(pairs: Sequence[Pair]) -> dict[str, float]:
    """task -> plain / own seconds a token, from totals; tasks in the order in which they first appear."""
    return {task: _ratio([pair for pair in pairs if pair.task == task]) for task in _tasks(pairs)}


def speedup(pairs: Sequence[Pair]) -> float:
    """The geometric mean over tasks."""
    return geometric_mean(speedups(pairs).values())


def interval(
    pairs: Sequence[Pair], *, draws: int = DRAWS, level: float = LEVEL, seed: int = 0
) -> tuple[float, float] | None:
    """Student's interval of the logarithm of `speedup` by its bootstrap error; None for a single prompt, which says
    nothing about others.

    Prompts are drawn again within each task, one fewer than there are: as many would make few prompts seem surer than
    they are (Rao and Wu 1988). Where a task has one prompt only, that would leave it fixed: then they are drawn from
    all tasks together, and the mean is over the tasks that were drawn.
    """
    if len(pairs) < 2:
        return None
    counts, freedom = _redrawn([pair.task for pair in pairs], draws, np.random.default_rng(seed))
    columns = np.array([(pair.plain_seconds, pair.plain_tokens, pair.seconds, pair.tokens) for pair in pairs])
    logs = []
    for task in _tasks(pairs):
        own = np.array([pair.task == task for pair in pairs])
        totals = counts[:, own] @ columns[own]
        with np.errstate(divide="ignore", invalid="ignore"):  # a task that was not drawn has no speed-up
            logs.append(np.log(totals[:, 0] / totals[:, 1]) - np.log(totals[:, 2] / totals[:, 3]))
    half = student(level, freedom) * float(np.nanmean(np.stack(logs), axis=0).std())
    return speedup(pairs) * math.exp(-half), speedup(pairs) * math.exp(half)


def student(level: float, freedom: int) -> float:
    """How many errors to either side hold `level` of Student's distribution: its density, in t = sqrt(freedom) tan a,
    is cos(a) ** (freedom - 1).
    """
    angles = np.linspace(0.0, math.pi / 2, 100_001)
    mass = np.cumsum(np.cos((angles[1:] + angles[:-1]) / 2) ** (freedom - 1))
    return math.sqrt(freedom) * math.tan(np.interp(level, mass / mass[-1], angles[1:]))


def more_prompts(prompts: int, half: float, wanted: float) -> int:
    """How many more prompts of the same kind would bring the half-width of an interval from `half` down to `wanted`: it
    shrinks with the root of their number.
    """
    return max(0, math.ceil(prompts * (half / wanted) ** 2 - 1e-9) - prompts)


def loops(tokens: Sequence[int], size: int = 8, times: int = 3, window: int = 64) -> bool:
    """True when some `size` tokens in a row occur `times` times within `window` tokens: small models at temperature 0
    do, and a drafter that looks things up then seems brilliant.
    """
    places: dict[tuple[int, ...], list[int]] = {}
    for start in range(len(tokens) - size + 1):
        found = places.setdefault(tuple(tokens[start : start + size]), [])
        found.append(start)
        if len(found) >= times and start + size - found[-times] <= window:
            return True
    return False


def _tasks(pairs: Sequence[Pair]) -> list[str]:
    return list(dict.fromkeys(pair.task for pair in pairs))


def _ratio(pairs: Sequence[Pair]) -> float:
    plain = math.fsum(pair.plain_seconds for pair in pairs) / sum(pair.plain_tokens for pair in pairs)
    return plain / (math.fsum(pair.seconds for pair in pairs) / sum(pair.tokens for pair in pairs))


def _redrawn(tasks: Sequence[str], draws: int, generator: np.random.Generator) -> tuple[NDArray[np.int64], int]:
    """[draws, prompts]: how often each prompt is drawn; and the degrees of freedom."""
    groups = [np.flatnonzero([other == task for other in tasks]) for task in dict.fromkeys(tasks)]
    if min(map(len, groups)) < 2:
        groups = [np.arange(len(tasks))]
    counts = np.zeros((draws, len(tasks)), dtype=np.int64)
    for group in groups:
        counts[:, group] = generator.multinomial(len(group) - 1, np.full(len(group), 1 / len(group)), size=draws)
    return counts, len(tasks) - len(groups)
