"""Margins: for engines whose rows depend on their company, a text may only differ where the model itself hardly knows.

A pass of many rows and one of a single row round differently, so near ties can fall either way. A text is fed to the
model again, once in one pass and once row by row; the largest difference between the two is the noise. Every emitted
token must then be the one that the rules would choose, or be behind it by no more than twice the noise: `best` minus
`own`, both after temperature and with the noise of the draw. Near ties are listed; anything above is a failure, and so
is a text that is not the model's at all. Noise that is too large for rounding excuses nothing: then the passes differ.
"""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass

import numpy as np

from foredraft.core.protocols import Cache, Model, Query
from foredraft.core.round import CHUNK
from foredraft.core.sampling import log, uniforms
from foredraft.core.stream import Purpose
from foredraft.models.toy import Array

# The gap that is allowed, in units of the noise: each of two logits may be off by it.
SIDES = 2.0
# The noise that rounding may make, as a share of the spread of a row's logits: bfloat16 makes about a hundredth.
PLAUSIBLE = 0.05


@dataclass(frozen=True)
class NearTie:
    """An emitted token that is not the best of its row. own, best: the two scores; noise: of that text's logits."""

    position: int
    token: int
    better: int
    own: float
    best: float
    limit: float

    @property
    def margin(self) -> float:
        return self.best - self.own

    @property
    def excused(self) -> bool:
        return self.margin <= self.limit


@dataclass(frozen=True)
class Margins:
    """One text. noise: the largest difference between a logit of a single row and the same among many."""

    positions: int
    noise: float
    ties: tuple[NearTie, ...]

    @property
    def passed(self) -> bool:
        return all(tie.excused for tie in self.ties)


def margins(
    model: Model, prompt: tuple[int, ...], output: tuple[int, ...], temperature: float, seed: int, *, choice: int = 0
) -> Margins:
    """How far the tokens of a text are from those that temperature (no other rule) and seed would choose."""
    together = _together(model, prompt, output)
    alone = _alone(model, prompt, output)
    off = np.abs(np.subtract(together, alone, out=np.zeros_like(alone), where=together != alone))  # -inf are equal
    noise = float(off.max()) if len(output) else 0.0
    scale = 1.0 / temperature if temperature > 0 else 1.0
    limit = SIDES * noise * scale if noise <= PLAUSIBLE * _spread(alone) else 0.0
    ties = []
    for position, (token, logits) in enumerate(zip(output, alone, strict=True)):
        scores = logits * scale
        if temperature > 0:
            u = uniforms(len(logits), seed, choice, position, int(Purpose.TARGET), 0)
            scores = scores - log(-log(u))
        better = int(np.argmax(scores))
        if better != token:
            own, best = float(scores[token]), float(scores[better])
            ties.append(NearTie(position, token, better, own, best, limit))
    return Margins(len(output), noise, tuple(ties))


def _spread(logits: Array) -> float:
    """Between the largest and the least logit that is not -inf, of the row where they lie furthest apart."""
    alive = np.where(np.isfinite(logits), logits, np.nan)
    return float(np.max(np.nanmax(alive, axis=-1) - np.nanmin(alive, axis=-1), initial=0.0))


def _together(model: Model, prompt: tuple[int, ...], output: tuple[int, ...]) -> Array:
    """[tokens, vocab]: the logits that the tokens of `output` came from, all in one pass behind the prompt."""
    fed = (prompt[-1], *output[:-1])
    with closing(_behind(model, prompt)) as cache:
        return _scored(model, cache, fed, tuple(range(len(fed))))


def _alone(model: Model, prompt: tuple[int, ...], output: tuple[int, ...]) -> Array:
    """The same, a row at a time, as plain decoding has them."""
    found = []
    with closing(_behind(model, prompt)) as cache:
        for token in (prompt[-1], *output[:-1]):
            found.append(_scored(model, cache, (token,), (0,))[0])
            cache.keep((0,))
    return np.array(found)


def _behind(model: Model, prompt: tuple[int, ...]) -> Cache:
    """A cache that holds the prompt but for its last token, fed in the chunks in which rounds feed it."""
    cache = model.open()
    for start in range(0, len(prompt) - 1, CHUNK):
        chunk = prompt[start : min(start + CHUNK, len(prompt) - 1)]
        _scored(model, cache, chunk, ())
        cache.keep(tuple(range(len(chunk))))
    return cache


def _scored(model: Model, cache: Cache, fed: tuple[int, ...], rows: tuple[int, ...]) -> Array:
    """[rows, vocab]: logits of a chain's rows, copied."""
    (scores,) = model.score([Query(cache, fed, tuple(range(-1, len(fed) - 1)), rows)])
    return np.array([scores.logits(row) for row in rows], dtype=np.float64)
