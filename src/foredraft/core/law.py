"""Laws: distributions over the vocabulary, in float64.

Three shapes of one thing: `Point` (all mass on one token: greedy, or a token computed without chance), `Sparse` (what
top-k, top-p or min-p leave) and `Dense`. Verification is arithmetic on laws: `residual` is what remains of p after a
candidate drawn from q was rejected (Leviathan et al. 2211.17192, section 2.3), `without` the law of the next sibling
drawn without replacement. All are immutable.
"""

from __future__ import annotations

import abc
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Ids = NDArray[np.int64]
Probs = NDArray[np.float64]

# Mass below this is what float64 rounding leaves of p - q when they are equal: the acceptance was certain.
ROUNDING = 1e-14


class Law(abc.ABC):
    """A distribution over `size` tokens."""

    size: int

    @abc.abstractmethod
    def prob(self, token: int) -> float:
        """The probability of `token`; 0 outside the support."""

    @abc.abstractmethod
    def support(self) -> tuple[Ids, Probs]:
        """Token ids in ascending order, and their probabilities (all > 0)."""

    @abc.abstractmethod
    def dense(self) -> Probs:
        """Probabilities of all tokens, shape [size]; a view where possible: do not write."""

    @abc.abstractmethod
    def mode(self) -> int:
        """The likeliest token, the lowest id among equals."""


@dataclass(frozen=True)
class Point(Law):
    """All mass on `token`."""

    token: int
    size: int

    def prob(self, token: int) -> float:
        return 1.0 if token == self.token else 0.0

    def support(self) -> tuple[Ids, Probs]:
        return np.array([self.token]), np.ones(1)

    def dense(self) -> Probs:
        probs = np.zeros(self.size)
        probs[self.token] = 1.0
        return probs

    def mode(self) -> int:
        return self.token


@dataclass(frozen=True, eq=False)
class Sparse(Law):
    """Mass on a few tokens: `ids` ascending, `probs` > 0 and summing to 1, both [n]."""

    ids: Ids
    probs: Probs
    size: int

    def prob(self, token: int) -> float:
        at = int(self.ids.searchsorted(token))
        return float(self.probs[at]) if at < len(self.ids) and self.ids[at] == token else 0.0

    def support(self) -> tuple[Ids, Probs]:
        return self.ids, self.probs

    def dense(self) -> Probs:
        probs = np.zeros(self.size)
        probs[self.ids] = self.probs
        return probs

    def mode(self) -> int:
        return int(self.ids[np.argmax(self.probs)])


@dataclass(frozen=True, eq=False)
class Dense(Law):
    """Mass anywhere: `probs` [size], >= 0 and summing to 1."""

    probs: Probs

    @property
    def size(self) -> int:  # type: ignore[override]
        return len(self.probs)

    def prob(self, token: int) -> float:
        return float(self.probs[token])

    def support(self) -> tuple[Ids, Probs]:
        ids = np.flatnonzero(self.probs)
        return ids, self.probs[ids]

    def dense(self) -> Probs:
        return self.probs

    def mode(self) -> int:
        return int(np.argmax(self.probs))


def of_weights(ids: Ids, weights: Probs, size: int) -> Law:
    """The law proportional to `weights` >= 0 at ascending `ids`; the weights' sum must be positive."""
    alive = weights > 0
    if not alive.all():
        ids, weights = ids[alive], weights[alive]
    return of_probs(ids, weights / weights.sum(), size)


def of_probs(ids: Ids | None, probs: Probs, size: int) -> Law:
    """The law that gives `probs` > 0, summing to 1, to ascending `ids`; None stands for all tokens."""
    if len(probs) == 1:
        return Point(0 if ids is None else int(ids[0]), size)
    return Dense(probs) if ids is None or len(probs) == size else Sparse(ids, probs, size)


def lifted(law: Law, ids: Ids, size: int) -> Law:
    """A law over places in ascending `ids` as a law over `size` tokens."""
    if isinstance(law, Point):
        return Point(int(ids[law.token]), size)
    places, probs = law.support()
    return of_probs(ids[places], probs, size)


def beside(p: Law, q: Law) -> tuple[Ids | None, Probs, Probs]:
    """Tokens that p may give (None stands for all), and the probabilities of p and of q there; do not write.

    A dense p is not searched for its support, which would cost more than arithmetic on whole arrays.
    """
    if isinstance(p, Dense):
        return None, p.probs, q.dense()
    ids, probs = p.support()
    return ids, probs, _at(q, ids)


def remainder(p: Law, ids: Ids | None, left: Probs) -> tuple[float, Law]:
    """The sum of what is `left` of p at `ids` (as `beside` gives them), and the law proportional to it.

    Negative numbers count as 0. Where nothing but rounding noise is left, (0, p). `left` is written over.
    """
    np.maximum(left, 0.0, out=left)
    total = float(left.sum())
    if total <= ROUNDING:
        return 0.0, p
    if ids is not None:
        return total, of_weights(ids, left, p.size)
    left /= total
    return total, Dense(left)


def excess(p: Law, q: Law, mass: float = 1.0) -> tuple[float, Law]:
    """How far `mass` times p exceeds q: the sum of (mass p - q)+, and the law proportional to it; (0, p) for noise."""
    ids, own, other = beside(p, q)
    left = mass * own
    left -= other
    return remainder(p, ids, left)


def residual(p: Law, q: Law) -> Law:
    """The law of the correction after a token drawn from `q` was rejected: (p - q)+ renormalised (2211.17192, 2.3).

    Where p - q is rounding noise the rejection had probability zero, and p stands.
    """
    return excess(p, q)[1]


def without(law: Law, token: int) -> Law | None:
    """The law of the next sibling after `token` was drawn without replacement; None when nothing is left."""
    ids, probs = law.support()
    rest = ids != token
    if not rest.any():
        return None
    return of_weights(ids[rest], probs[rest], law.size)


def overlap(p: Law, q: Law) -> float:
    """The acceptance probability of one token drawn from q: sum of min(p, q) = 1 - total variation."""
    ids, probs = p.support()
    return float(np.minimum(probs, _at(q, ids)).sum())


def total_variation(p: Law, q: Law) -> float:
    """Half the L1 distance, in [0, 1]."""
    return float(np.abs(p.dense() - q.dense()).sum() / 2)


def _at(law: Law, ids: Ids) -> Probs:
    """Probabilities of `law` at ascending `ids`, without making a sparse law dense."""
    if isinstance(law, Dense):
        return law.probs[ids]
    own, probs = law.support()
    at = np.minimum(own.searchsorted(ids), len(own) - 1)
    return np.where(own[at] == ids, probs[at], 0.0)
