"""A stream without chance: a draw is the likeliest token. For a draft model that is to decode greedily in a round."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from foredraft.core.law import Law
from foredraft.core.stream import Purpose


@dataclass(frozen=True)
class Likeliest:
    """Draws are modes and ranks the likeliest tokens, the lower id first among equals.

    So a law at temperature 1 can be decoded greedily and still tell how probable its tokens are.
    """

    position: int = 0

    def at(self, position: int) -> Likeliest:
        return replace(self, position=position)

    def ahead(self, by: int) -> Likeliest:
        return replace(self, position=self.position + by)

    def independent(self, lane: int) -> Likeliest:
        return self

    def draw(self, law: Law, purpose: Purpose, lane: int = 0) -> int:
        return law.mode()

    def rank(self, law: Law, count: int, purpose: Purpose, lane: int = 0) -> list[int]:
        ids, probs = law.support()
        if 0 < count < len(ids):  # the likeliest, all their equals included, before a stable sort of those few
            near = probs >= np.partition(probs, len(probs) - count)[len(probs) - count]
            ids, probs = ids[near], probs[near]
        return [int(token) for token in ids[np.argsort(-probs, kind="stable")[:count]]]

    def flip(self, p: float, q: float, lane: int) -> bool:
        return q < p
