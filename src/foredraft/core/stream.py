"""Randomness that depends on what is decided, never on when: a Philox counter keyed by seed and choice.

Every draw is named by (seed, choice, position, purpose): the target's own token at output position t uses the same
noise whatever the drafter, the tree, the batch or the round (drafter-invariant sampling, Daliri et al. 2408.07978).
A token is drawn by the Gumbel-max rule, argmax of log p + G, so a drafter that shares the noise tends to propose what
the target will say, and noise at a token does not depend on which other tokens survive.

Layout: Philox4x64-10, key (seed, choice), counter (block, position, purpose + 256 * lane, origin +
2^32 * branch). Token x reads output x % 4 (64 bits) of block x // 4 + 1: u = ((output >> 12) + 0.5) / 2^52,
G = -log(-log u).
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, replace
from typing import Protocol, Self

import numpy as np
from numpy.typing import NDArray

from foredraft.core.law import Dense, Law, Point
from foredraft.core.native import TWINS
from foredraft.core.sampling import uniforms


class Purpose(enum.IntEnum):
    """What a draw is for; draws of different purposes are independent."""

    TARGET = 0  # the target's own token: shared with coupled drafters
    DRAFT = 1  # an independently sampled draft token
    ACCEPT = 2  # an acceptance test
    CORRECTION = 3  # the token after a rejection, or the bonus, of a ratio verifier


class Stream(Protocol):
    """The randomness of one request, standing at one output position."""

    @property
    def position(self) -> int: ...

    def at(self, position: int) -> Stream:
        """The stream of the round whose first output position is `position`."""

    def ahead(self, by: int) -> Stream:
        """The same stream, `by` positions further on (the round it belongs to stays the same)."""

    def independent(self, lane: int) -> Stream:
        """A stream whose draws share nothing with this one's: for a drafter that is itself speculated."""

    def draw(self, law: Law, purpose: Purpose, lane: int = 0) -> int:
        """A token from `law`. Lanes of one purpose and position are independent; TARGET has the one lane 0."""

    def rank(self, law: Law, count: int, purpose: Purpose, lane: int = 0) -> list[int]:
        """The first `count` tokens of the perturbed order: the first is what `draw` gives, the rest its runners-up."""

    def flip(self, p: float, q: float, lane: int) -> bool:
        """True with probability min(1, p / q), by U * q < p: p = 0 never passes, q = 0 with p > 0 always."""


@dataclass(frozen=True)
class KeyedStream:
    """The production stream. `origin` is the position at which the current round began.

    Draft, acceptance and correction noise depends on the round, so that a position drafted again after a rejection
    meets fresh noise; the target's own does not.
    """

    seed: int
    choice: int = 0
    position: int = 0
    origin: int = 0
    branch: int = 0

    def at(self, position: int) -> KeyedStream:
        return self._moved(position, position)

    def ahead(self, by: int) -> KeyedStream:
        return self._moved(self.position + by, self.origin)

    def _moved(self, position: int, origin: int) -> Self:
        # Once for every token: a good deal faster than `replace`.
        return type(self)(self.seed, self.choice, position, origin, self.branch)

    def independent(self, lane: int) -> KeyedStream:
        # The origin joins the key of the branch: its TARGET noise, too, is fresh in every round.
        return replace(self, branch=(self.branch * 0x9E3779B1 + self.origin * 0x85EBCA77 + lane + 1) & 0xFFFFFFFF)

    def draw(self, law: Law, purpose: Purpose, lane: int = 0) -> int:
        return law.token if isinstance(law, Point) else self.rank(law, 1, purpose, lane)[0]

    def rank(self, law: Law, count: int, purpose: Purpose, lane: int = 0) -> list[int]:
        ids, probs = (None, law.probs) if isinstance(law, Dense) else law.support()
        return TWINS.rank(ids, probs, count, *self._key(purpose, lane))

    def flip(self, p: float, q: float, lane: int) -> bool:
        if p >= q:  # U is strictly between 0 and 1
            return p > 0
        return self._uniform(Purpose.ACCEPT, lane) * q < p

    def _uniform(self, purpose: Purpose, lane: int) -> float:
        """The first of `_uniforms`."""
        return TWINS.uniform(*self._key(purpose, lane))

    def _uniforms(self, count: int, purpose: Purpose, lane: int) -> NDArray[np.float64]:
        return uniforms(count, *self._key(purpose, lane))

    def _key(self, purpose: Purpose, lane: int) -> tuple[int, int, int, int, int]:
        """What names a draw: Philox's key, and its counter but for the block."""
        origin = 0 if purpose is Purpose.TARGET else self.origin
        return self.seed, self.choice, self.position, int(purpose) + (lane << 8), origin + (self.branch << 32)
